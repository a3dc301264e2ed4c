"""Run `overnight` commands in processes that are forked from one that has imported the libraries.

Importing Prefect and LiteLLM takes most of a command's processor time. A forked process runs
`overnight.flows.cli.main.main` and ends as the interpreter ends, like `python -m overnight.flows.cli.main`, which is
also what runs where nothing can be forked. Commands of the Python API are forked after `fork_for_api`, and in a script
that `start_script` starts; processes that answer queries are after `fork_for_queries`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import re
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NoReturn

from filelock import FileLock

from tests.command_client import fork

ROOT = Path(__file__).parents[1]
_QUERIES, _WORKER = "overnight.tasks.history.query_process", "overnight.tasks.history.query_worker"
"""The module that starts a process for queries, and the one that it runs."""

_LIBRARIES = (
    "duckdb", "pyarrow.parquet", "pyarrow.dataset", "pyarrow.fs", "docker", "numpy", "rich.progress",
    "overnight.flows.night.search", "overnight.flows.night.signals", "overnight.flows.start.create_run",
    "overnight.flows.prefect_server.embedded", _WORKER, "tests.in_process", "overnight.flows.night.replay",
    "overnight.flows.night.given_starts", "overnight.flows.report.build", "overnight.tasks.evaluate.backends.process",
    "overnight.tasks.history.winners", "overnight.tasks.sample.builtin.text_mutation",
    *(f"overnight.flows.cli.{path.stem}" for path in (ROOT / "flows/cli").glob("[a-z]*.py")),
)  # fmt: skip
_API = "overnight.flows.api.process"
"""The module that runs commands for the Python API, and as whose program it does."""

_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Prefixes of environment variables that the interpreter and libraries read once, when they start."""

Streams = tuple[int, ...]
"""Descriptors of the standard streams, and possibly of a file that has the same number in the forked process."""
_MAX_REQUEST_BYTES, _KEPT = 2**18, 256
_AT_START = dict(os.environ)

WITHOUT_PREFECT = "OVERNIGHT_TESTS_WITHOUT_PREFECT"
"""Environment variable with which the nights of a forked command do without Prefect."""

IN_PROCESS = "OVERNIGHT_TESTS_IN_PROCESS"
"""Environment variable with which a forked command evaluates programs, which do no harm, in its own process."""

FOLDER = "OVERNIGHT_TESTS_COMMANDS"
"""Environment variable with the folder that all processes of one test run share for the server's address and log."""

OWNER = "owner"
"""File in that folder with the id of the first process of the test run."""


class CommandProcess:
    """An `overnight` command in a process of its own, used like a `subprocess.Popen[str]` with pipes.

    Args:
        arguments: Arguments of the command.
        environment: All its environment variables.
        streams: File descriptors of standard input, output and error; pipes for the latter two if there are none.
        for_api: Whether errors are reported as the Python API reads them.

    Attributes:
        pid: Process id, which is also that of its process group.
        returncode: Exit code, or minus the number of the signal that ended it; `None` while it is not known to be over.
        stdout: Reading end of its standard output, if that is a pipe.
        stderr: Reading end of its standard error, if that is a pipe.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: Streams | None = None,
        *,
        for_api: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        with contextlib.ExitStack() as opened:
            if streams is None:
                nothing = opened.enter_context(Path(os.devnull).open())
                self.stdout, out = _pipe(opened)
                self.stderr, err = _pipe(opened)
                streams = (nothing.fileno(), out, err)
            self._server, self.pid = _fork(arguments, environment, streams, for_api=for_api)

    def poll(self) -> int | None:
        """Return the exit code, or `None` while the process runs."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process ends; return its exit code.

        Raises:
            TimeoutError: If it has not ended within `timeout` seconds.
        """
        if self.returncode is None:
            self._server.settimeout(timeout)
            self.returncode = int(self._server.recv(32))
            self._server.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """Wait until the process ends; return the rest of its output and of its errors."""
        deadline = time.monotonic() + timeout
        with ThreadPoolExecutor(2) as readers:
            read = [readers.submit(stream.read) for stream in (self.stdout, self.stderr) if stream]
            try:
                self.wait(timeout)
                output, errors = (reader.result(max(0.0, deadline - time.monotonic())) for reader in read)
            except TimeoutError:
                self.kill()
                raise
        return output, errors


RunningCommand = CommandProcess | subprocess.Popen[str]


def _pipe(opened: contextlib.ExitStack) -> tuple[IO[str], int]:
    """Return the reading end of a new pipe, and the writing end, which is open as long as `opened`."""
    reading, writing = os.pipe()
    opened.callback(os.close, writing)
    return open(reading, encoding="utf-8"), writing


def start_command(
    arguments: Sequence[str], environment: Mapping[str, str], streams: Streams | None = None
) -> RunningCommand:
    """Start a command.

    Args:
        arguments: Arguments of the command.
        environment: All its environment variables.
        streams: File descriptors of standard input, output and error; pipes for the latter two if there are none.
    """
    if can_fork(environment):
        return CommandProcess(arguments, environment, streams)
    given, out, err = streams or (subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE)
    return subprocess.Popen(
        [sys.executable, "-m", "overnight.flows.cli.main", *arguments],
        env=dict(environment), stdin=given, stdout=out, stderr=err, text=True, start_new_session=True,
    )  # fmt: skip


@contextlib.contextmanager
def serving(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Serve a page by a command until the block ends, as by Ctrl-C, and yield its address, which the command says."""
    process = start_command(arguments, environment)
    try:
        assert process.stderr is not None
        yield re.findall(r"http://\S+", process.stderr.readline())[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) in (0, 130), "Ctrl-C ends it cleanly"
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait(10)


def run_command(
    arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command; return its exit code and output."""
    process = start_command(arguments, environment)
    output, errors = process.communicate(timeout=timeout_s)
    assert process.returncode is not None
    return subprocess.CompletedProcess(list(arguments), process.returncode, output, errors)


def can_fork(environment: Mapping[str, str]) -> bool:
    """Return whether a forked command behaves as one that is started with these variables."""
    return hasattr(os, "pidfd_open") and all(
        environment.get(name) == _AT_START.get(name)
        for name in {*environment, *_AT_START}
        if name.startswith(_READ_AT_START)
    )


class _ApiProcess(CommandProcess):
    """The command of an API call, in place of the `subprocess.Popen` that the API makes."""

    stdin = None

    def __init__(self, words: Sequence[str], stderr: int | None, **_: object) -> None:
        with contextlib.ExitStack() as opened:
            nothing = opened.enter_context(Path(os.devnull).open())
            out, writing = _pipe(opened)
            err, errors = (None, 2) if stderr is None else _pipe(opened)
            arguments = words[words.index(_API) + 1 :]
            super().__init__(arguments, os.environ, (nothing.fileno(), writing, errors), for_api=True)
        self.stdout, self.stderr = (stream and stream.detach() for stream in (out, err))  # type: ignore[assignment]


def fork_for_api(patch: Callable[[object, str, object], None] = setattr) -> None:
    """Fork the commands of this process's API calls from now on, where that can be done."""
    if can_fork(os.environ):
        forking = types.SimpleNamespace(Popen=_ApiProcess, DEVNULL=subprocess.DEVNULL, PIPE=subprocess.PIPE)
        patch(importlib.import_module(_API), "subprocess", forking)


class _QueryProcess(CommandProcess):
    """A process that answers queries, in place of the `subprocess.Popen` that `query_process` makes."""

    def __init__(self, words: Sequence[str], *, stderr: IO[bytes], **_: object) -> None:
        with contextlib.ExitStack() as opened:
            given, writing = os.pipe()
            opened.callback(os.close, given)
            self.stdin = open(writing, "wb")  # noqa: SIM115  (open as long as the process is used)
            out, answers = _pipe(opened)
            super().__init__(words[-1:], os.environ, (given, answers, stderr.fileno(), stderr.fileno()))
        self.stdout = out.detach()  # type: ignore[assignment]


def fork_for_queries(patch: Callable[[object, str, object], None] = setattr) -> None:
    """Fork the processes that answer queries of this process from now on, where that can be done."""
    if can_fork(os.environ):
        forking = types.SimpleNamespace(Popen=_QueryProcess, PIPE=subprocess.PIPE)
        patch(importlib.import_module(_QUERIES), "subprocess", forking)


def start_script(script: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a script that calls the Python API, in a folder; its output is in a pipe."""
    run = f"import runpy, sys; sys.path.append({str(ROOT)!r}); runpy.run_module({__name__!r}, None, '__main__', True)"
    command = [sys.executable, "-P", "-c", run, str(script), *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def install(folder: Path) -> bool:
    """Create a program `overnight` that passes its arguments on, and return whether commands can be forked."""
    program = folder / "overnight"
    program.write_text(
        f"#!{sys.executable} -SE\nimport sys\nsys.path.append({str(ROOT / 'tests')!r})\n"
        f"from command_client import pass_on\nsys.exit(pass_on({_address()!r}, sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    return can_fork(os.environ)


def _fork(
    arguments: Sequence[str], environment: Mapping[str, str], streams: Streams, *, for_api: bool = False
) -> tuple[socket.socket, int]:
    """Fork a command with these streams; return the connection for its exit code, and its process id."""
    file = streams[3] if len(streams) > 3 else None
    return fork(_address(), arguments, environment, streams, for_api=for_api, file=file)


def _address() -> str:
    """Return the address of the server; the first process of a test run that needs it starts it."""
    folder = Path(os.environ.get(FOLDER) or _AT_START[FOLDER])
    address = str(folder / "commands.socket")
    with FileLock(folder / "commands.lock"):
        if not Path(address).exists():
            _start(address, (folder / OWNER).read_text(), folder / "commands.log")
    return address


def _start(address: str, owner: str, log: Path) -> None:
    """Start the server, which ends with the process whose id is `owner`; wait until it listens."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server", address, owner],
            cwd=ROOT, env=_AT_START, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 120
    while not Path(address).exists():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _serve(address: str, owner: int) -> dict[str, Any]:
    """Fork a process for each request until the owner ends; in a forked process, return its request."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{address}.new")
    listener.listen(64)
    Path(f"{address}.new").rename(address)
    waiting: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(os.pidfd_open(owner), selectors.EVENT_READ, "owner")
        while True:
            for key, _ in ready.select():
                if key.data == "owner":
                    sys.exit()
                if key.fileobj is not listener:
                    _report_exit(key, waiting.pop(key.fd), ready)
                    continue
                connection = listener.accept()[0]
                request, streams, _, _ = socket.recv_fds(connection, _MAX_REQUEST_BYTES, 4)
                if not request:  # the client has ended
                    connection.close()
                    continue
                if not (pid := os.fork()):
                    return _become(json.loads(request), streams)
                for stream in streams:
                    os.close(stream)
                with contextlib.suppress(OSError):
                    connection.send(str(pid).encode())
                process = os.pidfd_open(pid)
                waiting[process] = connection
                ready.register(process, selectors.EVENT_READ, pid)


def _report_exit(key: selectors.SelectorKey, connection: socket.socket, ready: selectors.BaseSelector) -> None:
    _, status = os.waitpid(key.data, 0)
    ready.unregister(key.fd)
    os.close(key.fd)
    with contextlib.suppress(OSError), connection:
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict[str, Any], streams: Sequence[int]) -> dict[str, Any]:
    """Give this forked process the session, streams, folder and environment of a new one; return its request."""
    os.setsid()
    for place, stream in zip((0, 1, 2, _KEPT), streams, strict=False):
        os.dup2(stream, place)
    os.closerange(3, _KEPT)
    for place, name in enumerate(("stdin", "stdout", "stderr")):
        _reopen(name, place)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]
    time.tzset()
    tempfile.tempdir = None
    if request.get("file") is None:  # a process that answers queries has no settings of Prefect's
        importlib.import_module("prefect.context").refresh_global_settings_context()
    return request


def _reopen(name: str, place: int) -> None:
    mode, errors = ("rb", "strict") if place == 0 else ("wb", "backslashreplace" if place == 2 else "strict")
    file = open(place, mode, closefd=False)  # noqa: SIM115  (open until the process ends)
    stream = io.TextIOWrapper(file, "utf-8", errors, line_buffering=place == 2 or os.isatty(place))
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


def _run(request: Mapping[str, Any]) -> NoReturn:
    """Run the command and end as the interpreter does, but without freeing the imported libraries, which takes long."""
    code = 0
    report = {"report": importlib.import_module(_API)._report} if request.get("for_api") else {}
    in_process = importlib.import_module("tests.in_process")
    if WITHOUT_PREFECT in os.environ:
        in_process.run_commands_without_prefect()
    if IN_PROCESS in os.environ:
        in_process.use_this_process()
        in_process.draw_no_charts()
    fork_for_queries()
    try:
        if request.get("file") is not None:
            os.dup2(_KEPT, request["file"])
            importlib.import_module(_WORKER).main(**json.loads(request["arguments"][0]))
        importlib.import_module("overnight.flows.cli.main").main(request["arguments"], **report)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    from overnight.flows.environment import prepare

    if sys.argv[1].endswith(".py"):
        del sys.argv[0]
        fork_for_api()
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit()
    prepare()
    for library in _LIBRARIES:
        importlib.import_module(library)
    importlib.import_module("overnight.tasks.sample.providers.litellm").litellm_module()
    templates = importlib.import_module("overnight.tasks.report.page")._environment()
    for name in templates.list_templates(["jinja"]):
        templates.get_template(name)  # which is compiled once
    importlib.import_module("overnight.tasks.history.database")._columns()  # DuckDB's first query takes longest
    gc.freeze()
    _run(_serve(sys.argv[1], int(sys.argv[2])))
