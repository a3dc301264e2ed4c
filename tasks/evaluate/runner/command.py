"""A candidate that is a file: it lies in scratch, and a command scores it, in a fresh process for each input."""

from __future__ import annotations

import json
import os
import selectors
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from . import additions

SCRATCH = "/tmp"
"""The only place where a candidate can write."""

WORK = f"{SCRATCH}/work"
"""The command's working directory: the candidate's file, and links to the problem's own."""

_METRICS_CHARS = 65536
"""Of what the command prints, so much is looked through for the metrics, from the end."""

_COMPLAINT_CHARS = 1500


@dataclass(frozen=True)
class Command:
    """How a file is scored.

    Attributes:
        program: What the candidate's file is called.
        arguments: The command; `{program}` is the candidate's path, `{input}` the input as JSON.
        metric: The one of its metrics that is the score.
        metrics_file: Where it writes them, from the working directory; empty if it prints them.
        seed: Told to the command as OVERNIGHT_SEED.
    """

    program: str
    arguments: Sequence[str]
    metric: str
    metrics_file: str
    seed: int


class CommandError(Exception):
    """The command failed; `description` is for the report."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.description = {"type": kind, "text": text}


class Metrics:
    """Metrics that hold no score: what is reported in its place."""

    def __init__(self, metric: str, found: dict[str, Any]) -> None:
        self._metric, self._found = metric, found

    def __str__(self) -> str:
        if self._metric in self._found:
            return f"in which {self._metric!r} is {self._found[self._metric]!r}"
        return f"without {self._metric!r}: {', '.join(map(str, self._found)) or 'none at all'}"


def prepare(command: Command, source: bytes) -> Callable[..., Any]:
    """Writes the candidate's file and gives the function that scores one input.

    Returns:
        A function of the input that gives the score, or `Metrics` where there is none.
    """
    os.mkdir(WORK, 0o700)
    os.chdir(WORK)
    os.umask(0o077)
    for name in additions.files():
        os.symlink(os.path.join(additions.FILES, name), name)
    with open(command.program, "wb") as file:
        file.write(source)
    os.chmod(command.program, 0o700)
    return lambda *args: _score(command, args[0] if len(args) == 1 else args)


def _score(command: Command, given: Any) -> Any:
    places = {"{program}": os.path.join(WORK, command.program), "{input}": json.dumps(given)}
    environment = {**os.environ, "HOME": WORK, "TMPDIR": SCRATCH, "OVERNIGHT_SEED": str(command.seed)}
    # For what scores the candidate's file by importing it: Python itself looks where the script really is.
    environment["PYTHONPATH"] = os.pathsep.join((WORK, additions.PACKAGES))
    if command.metrics_file:
        # What an earlier input's run wrote there is no answer to this one.
        with suppress(OSError):
            os.unlink(command.metrics_file)
    printed, complained = _run([_filled(part, places) for part in command.arguments], environment)
    if command.metrics_file:
        printed = _read(command.metrics_file)
    found = _metrics(printed)
    if found is None:
        raise CommandError("no metrics", f"the command gave no JSON object with metrics {complained}".rstrip())
    value = found.get(command.metric)
    return value if type(value) in (int, float) else Metrics(command.metric, found)


def _filled(part: str, places: dict[str, str]) -> str:
    for place, value in places.items():
        part = part.replace(place, value)
    return part


def _run(arguments: list[str], environment: dict[str, str]) -> tuple[str, str]:
    """Runs the command to its end; the last of what it printed on each stream, all of which is passed on.

    Raises:
        CommandError: If it cannot be started or does not end with 0.
    """
    try:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
    except OSError as error:
        raise CommandError(type(error).__name__, f"{error.strerror}: {arguments[0]}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    printed, complained = _pass_on(process.stdout, process.stderr)
    status = process.wait()
    if status:
        ending = f"exit code {status}" if status > 0 else f"killed by {_signal(-status)}"
        raise CommandError(ending, complained.strip()[-_COMPLAINT_CHARS:])
    return printed, complained.strip()[-_COMPLAINT_CHARS:]


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _pass_on(*streams: IO[bytes]) -> list[str]:
    """Writes everything to standard output, which is limited, and keeps the last of each stream."""
    kept = {stream.fileno(): b"" for stream in streams}
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                    continue
                kept[key.fd] = (kept[key.fd] + data)[-_METRICS_CHARS:]
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
    return [data.decode("utf-8", "replace") for data in kept.values()]


def _read(path: str) -> str:
    """The text of the metrics file.

    Raises:
        CommandError: If it is no file that can be read, or too long.
    """
    try:
        # A pipe is not waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CommandError("no metrics", f"not a regular file: {path}")
            text = file.read(_METRICS_CHARS + 1)
    except OSError as error:
        raise CommandError("no metrics", f"{error.strerror}: {path}") from error
    if len(text) > _METRICS_CHARS:
        raise CommandError("no metrics", f"longer than {_METRICS_CHARS // 1024} KiB: {path}")
    return text.decode("utf-8", "replace")


def _metrics(text: str) -> dict[str, Any] | None:
    """The last JSON object: the whole text, its last line, or from the last line on that begins one."""
    lines = text.strip().splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("{")]
    for start in [*reversed(starts[-3:]), 0]:
        try:
            found = json.loads("\n".join(lines[start:]))
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return None
