"""Score a candidate of one or several files by a command that runs in a new process for each input."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from . import asking
from .notes import METRIC_NAME, MOST_METRICS, is_finite
from .program import FILES, PACKAGES

SCRATCH_VARIABLE = "OVERNIGHT_SCRATCH"
"""Environment variable with the directory for the only files that a candidate can write, where it is another."""

SCRATCH = os.environ.get(SCRATCH_VARIABLE) or "/tmp"

WORK = f"{SCRATCH}/work"
"""Working directory of the command; it has the candidate's files, and links to the problem's own files."""

_OWN_TEMPORARY = f"{WORK}/overnight_tmp"
"""Directory for temporary files that no process of a candidate can see, where it has processes of its own."""

_METRICS_CHARS = 65536
"""Maximum size of the output's end that is searched for metrics, characters; also of a metrics file."""

_DRAWING_CHARS = 2**20
"""Maximum size of a drawing that a command prints, bytes; of a longer one, the end is returned."""

_STDERR_CHARS = 1500


@dataclass(frozen=True)
class Command:
    """Command that scores a candidate; see `schemas/job.py`.

    Attributes:
        seed: Seed, passed to the command as OVERNIGHT_SEED.
        draws: Whether the command prints a drawing instead of metrics.
        apart: Whether the program runs in a process of its own, which a stand-in for its file calls.
    """

    program: str
    arguments: Sequence[str]
    metric: str
    metrics_file: str
    seed: int
    files: Sequence[str] = ()
    draws: bool = False
    apart: bool = False


@dataclass(frozen=True)
class Found:
    """Findings of a command: the score, its other finite numbers by name, and what it says of the input.

    Attributes:
        notes: Anything; empty if it says nothing.
    """

    score: int | float
    metrics: dict[str, float]
    notes: Any


class CommandError(Exception):
    """Failure of the command; `description` is its description in the report."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.description = {"type": kind, "text": text}


class Metrics:
    """Metrics without a score, reported in place of a score."""

    def __init__(self, metric: str, found: dict[str, Any]) -> None:
        self._metric, self._found = metric, found

    def __str__(self) -> str:
        if self._metric in self._found:
            return f"in which {self._metric!r} is {self._found[self._metric]!r}"
        return f"without {self._metric!r}: {', '.join(map(str, self._found)) or 'none at all'}"


def prepare(
    command: Command, source: bytes, stand_ins: Mapping[str, bytes] | None = None, ask_ends: Sequence[int] = ()
) -> Callable[..., Any]:
    """Write the candidate's files and return the function that scores one input.

    Args:
        command: Command that scores the candidate.
        source: Content of its file; of several files, a JSON object of their texts by path.
        stand_ins: Files by path that the command gets in place of the candidate's; None if it gets these.
        ask_ends: Descriptors with which the command asks a model; empty if it may not.

    Returns:
        A function of the input that returns what was found, or `Metrics` if there is no score; or the drawing, if the
        command draws.
    """
    texts = json.loads(source) if command.files else {}
    contents = {path: text.encode("utf-8", "surrogatepass") for path, text in texts.items()} or {
        command.program: source
    }
    lay_out(WORK, command, contents if stand_ins is None else stand_ins)
    if command.apart:  # the candidate's user can look for names in the scratch directory
        os.mkdir(_OWN_TEMPORARY)
    return lambda *args: _score(command, args[0] if len(args) == 1 else args, ask_ends)


def lay_out(folder: str, command: Command, contents: Mapping[str, bytes]) -> None:
    """Make a directory with these files by path and the problem's own, and enter it."""
    os.mkdir(folder, 0o700)
    os.chdir(folder)
    os.umask(0o077)
    # Python searches the directory of a script's real path first, which has to be the one with the candidate's files.
    scripts = {part for part in command.arguments if os.path.isfile(os.path.join(FILES, part))}
    _lay_out(scripts if command.files else set(), contents)
    for path, content in contents.items():
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o700)


def environment(command: Command, folder: str) -> dict[str, str]:
    """Return the environment of processes in a directory that was laid out, beside that of the runner."""
    return {
        "HOME": folder,
        "TMPDIR": _OWN_TEMPORARY if command.apart else SCRATCH,
        "OVERNIGHT_SEED": str(command.seed),
        # For a command that imports the candidate's file: Python itself searches the directory of the script's real
        # path.
        "PYTHONPATH": os.pathsep.join((folder, PACKAGES)),
    }


def _lay_out(scripts: Collection[str], written: Collection[str], folder: str = "") -> None:
    """Put the problem's own files into the working directory: as links, or as copies where a link does not do.

    Args:
        scripts: Paths of the files to copy.
        written: Paths of the files that are written later; the folders around them are real, too.
        folder: Folder to fill, relative to the working directory.
    """
    source = os.path.join(FILES, folder)
    for name in sorted(os.listdir(source)) if os.path.isdir(source) else ():
        if name == "__pycache__":  # where this user may write there, it would have the byte code of earlier candidates
            continue
        path = os.path.join(folder, name)
        if any(inner.startswith(f"{path}/") for inner in (*scripts, *written)):
            os.mkdir(path)
            _lay_out(scripts, written, path)
        elif path in scripts:
            shutil.copyfile(os.path.join(source, name), path)
        else:
            os.symlink(os.path.join(source, name), path)


def _score(command: Command, input_value: Any, ask_ends: Sequence[int]) -> Any:
    substitutions = {"{program}": os.path.join(WORK, command.program), "{input}": json.dumps(input_value)}
    if command.metrics_file:
        # Metrics that an earlier input's run wrote must not count for this one.
        with suppress(OSError):
            os.unlink(command.metrics_file)
    arguments = [_fill_in(part, substitutions) for part in command.arguments]
    variables = os.environ | environment(command, WORK)
    if ask_ends:
        variables[asking.VARIABLE] = " ".join(map(str, ask_ends))
    output, complaint = _run(arguments, variables, draws=command.draws, pass_fds=ask_ends)
    if command.draws:
        return output
    if command.metrics_file:
        output = _read_metrics_file(command.metrics_file)
    found = _parse_metrics(output)
    if found is None:
        raise CommandError("no metrics", f"the command gave no JSON object with metrics {complaint}".rstrip())
    value: Any = found.get(command.metric)
    if type(value) not in (int, float):
        return Metrics(command.metric, found)
    others = [(name, float(one)) for name, one in found.items() if name != command.metric and _is_metric(name, one)]
    return Found(value, dict(others[:MOST_METRICS]), found.get("notes", ""))


def _is_metric(name: str, value: Any) -> bool:
    """Return whether something that was found is a number to keep: commands of other tools print more than that."""
    return type(value) in (int, float) and is_finite(value) and METRIC_NAME.fullmatch(name) is not None


def _fill_in(part: str, substitutions: dict[str, str]) -> str:
    for placeholder, value in substitutions.items():
        part = part.replace(placeholder, value)
    return part


def _run(arguments: list[str], environment: dict[str, str], *, draws: bool, pass_fds: Sequence[int]) -> tuple[str, str]:
    """Run the command, forward all its output, and return the end of its standard output and of its standard error.

    The standard output of a command that draws is not forwarded.

    Raises:
        CommandError: If it cannot be started, or its exit code is not 0.
    """
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise CommandError(type(error).__name__, f"{error.strerror}: {arguments[0]}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    output, complaint = _forward_output(process.stdout, process.stderr, is_drawing=draws)
    status = process.wait()
    if status == -signal.SIGXCPU:
        # The limit on processor time, which this process has, too: its own end by that signal tells the reason.
        os.kill(os.getpid(), signal.SIGXCPU)
    if status:
        ending = f"exit code {status}" if status > 0 else f"killed by {_signal_name(-status)}"
        raise CommandError(ending, complaint.strip()[-_STDERR_CHARS:])
    return output, complaint.strip()[-_STDERR_CHARS:]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _forward_output(output: IO[bytes], complaint: IO[bytes], *, is_drawing: bool) -> list[str]:
    """Forward all data to standard output, whose size is limited, and return the end of each stream.

    Of a command that draws, `output` is only returned.
    """
    streams = output, complaint
    tails = {stream.fileno(): b"" for stream in streams}
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                    continue
                if is_drawing and key.fileobj is output:
                    tails[key.fd] = (tails[key.fd] + data)[-_DRAWING_CHARS:]
                    continue
                tails[key.fd] = (tails[key.fd] + data)[-_METRICS_CHARS:]
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
    return [data.decode("utf-8", "replace") for data in tails.values()]


def _read_metrics_file(path: str) -> str:
    """Return the text of the metrics file.

    Raises:
        CommandError: If it is not a readable regular file, or is too long.
    """
    try:
        # O_NONBLOCK, so that opening a named pipe does not wait.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CommandError("no metrics", f"not a regular file: {path}")
            text = file.read(_METRICS_CHARS + 1)
    except OSError as error:
        raise CommandError("no metrics", f"{error.strerror}: {path}") from error
    if len(text) > _METRICS_CHARS:
        raise CommandError("no metrics", f"longer than {_METRICS_CHARS // 1024} KiB: {path}")
    return text.decode("utf-8", "replace")


def _parse_metrics(text: str) -> dict[str, Any] | None:
    """Return the JSON object at the end of the text, which starts at the beginning of a line; None if there is none."""
    lines = text.strip().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("{")]
    for start in [*reversed(starts[-3:]), 0]:
        try:
            found = json.loads("\n".join(lines[start:]))
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return None
