"""Run a candidate's file in a process of its own, for a command that imports the file and calls its functions.

The command has another user, and in the file's place a stand-in (`stand_in`). This process begins a session for whoever
asks: a process of the candidate's user that loads the file and answers calls. Only plain data crosses.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import types
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

from . import asking, child, codec, command, lockdown, rpc, stand_in
from .job import Job
from .program import Program

PIPES = f"{command.SCRATCH}/calls"
"""Directory of the named pipes; it and they belong to the command's user."""

_FOLDER = f"{command.SCRATCH}/program"
"""Working directory of the candidate's processes; it has the candidate's file, and links to the problem's own files."""

_SESSION = re.compile(rb"\d{1,20}-\d{1,20}")

_VALUE_BYTES, _VALUES_BYTES = 2**20, 2**24
"""Maximum size of one of a module's values that the stand-in gets, and of all of them, bytes."""


def command_files(given: command.Command, *, may_ask: bool = False) -> dict[str, bytes]:
    """Return what the command gets in the candidate's place: the stand-in, and the modules that it imports.

    A command that may ask a model gets a module `funsearch`, too.
    """
    text = stand_in.TEXT.format(folder=command.WORK, pipes=PIPES)
    names = ("codec", "rpc", "stand_in", *(("frames", "asking") if may_ask else ()))
    modules = {name: sys.modules[f"{__package__}.{name}"].__source__ for name in names}
    copies = {f"overnight_calls/{name}.py": source.encode() for name, source in modules.items()}
    if may_ask:
        copies["funsearch.py"] = asking.MODULE.encode()
    return {given.program: text.encode(), "overnight_calls/__init__.py": b"", **copies}


def open_to_asks() -> None:
    """Make the pipe on which sessions are asked for, as the command's user."""
    os.mkdir(PIPES)
    os.chmod(PIPES, 0o755)
    ask = os.path.join(PIPES, stand_in.ASK)
    os.mkfifo(ask)
    os.chmod(ask, 0o666)


class Server:
    """The process that begins sessions, until it is killed.

    Args:
        job: Job of the runner; it has a command.
        kernel: Prepared kernel interface of the runner.
        source: Content of the candidate's file.
    """

    def __init__(self, job: Job, kernel: lockdown.Kernel, source: bytes) -> None:
        assert job.command is not None
        command.lay_out(_FOLDER, job.command, {job.command.program: source})
        os.environ |= command.environment(job.command, _FOLDER) | {"TMPDIR": _FOLDER}
        sys.path[:0] = [_FOLDER]
        self._path = os.path.join(_FOLDER, job.command.program)
        self._program = Program(source.decode("utf-8", "surrogatepass"), job.seed, file=self._path)
        self._kernel = kernel
        self._sessions: dict[int, int] = {}
        self._poll = select.poll()

    def serve(self) -> None:
        """Begin sessions; it returns in the process of a session that is over."""
        ask, buffered = os.open(os.path.join(PIPES, stand_in.ASK), os.O_RDWR), b""
        self._poll.register(ask, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != ask:
                    self._end(descriptor)
                    continue
                *names, buffered = (buffered + os.read(ask, 4096)).split(b"\n")
                for name in filter(_SESSION.fullmatch, names):
                    if self._begin(name.decode(), ask):
                        return

    def _begin(self, name: str, ask: int) -> bool:
        """Begin a session; return whether this is its process, which has answered all calls."""
        calls, answers = (os.path.join(PIPES, f"{name}.{end}") for end in (stand_in.CALLS, stand_in.ANSWERS))
        try:
            incoming = os.open(calls, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:  # whoever asked is gone
            return False
        parent, pid = os.getpid(), self._kernel.fork()
        if pid:
            self._sessions[incoming] = pid
            self._poll.register(incoming, 0)  # it hangs up once no process holds the other end
            return False
        os.setsid()
        self._kernel.die_with(parent)
        for descriptor in (ask, *self._sessions):
            os.close(descriptor)
        os.set_blocking(incoming, True)
        self._answer(rpc.Connection(incoming, os.open(answers, os.O_WRONLY)))
        return True

    def _end(self, descriptor: int) -> None:
        """End a session whose caller has closed it, or is gone: nobody waits for its answer."""
        self._poll.unregister(descriptor)
        os.close(descriptor)
        pid = self._sessions.pop(descriptor)
        for end in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                end(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def _answer(self, connection: rpc.Connection) -> None:
        sys.path[:0] = self._further_paths(codec.loads(connection.receive()[1]))
        try:
            module = self._load()
            functions, about = _contents(module)
        except BaseException as error:  # noqa: BLE001  a candidate may raise anything
            connection.send(*rpc.encode_error(error, self._program.describe))
            return
        connection.send(rpc.READY, about)
        rpc.serve_calls(connection, functions, self._program.describe)
        child.flush()

    @staticmethod
    def _further_paths(paths: Sequence[str]) -> list[str]:
        """Return the caller's module search path without what this process searches anyway, and with its own folder."""
        own = [re.sub(f"^{re.escape(command.WORK)}(?=/|$)", _FOLDER, path) for path in paths]
        return [path for path in own if path not in sys.path]

    def _load(self) -> types.ModuleType:
        """Import the candidate's file as the module `program`."""
        self._program.reseed()
        loader = SourceFileLoader("program", self._path)
        spec = spec_from_loader("program", loader, origin=self._path)
        assert spec is not None
        module = module_from_spec(spec)
        sys.modules["program"] = module
        loader.exec_module(module)
        return module


def _contents(module: types.ModuleType) -> tuple[list[Callable[..., Any]], bytes]:
    """Return all that can be called in a module, and the message that names it, with the values that can cross."""
    functions: dict[str, Callable[..., Any]] = {}
    values, left = {}, _VALUES_BYTES
    for name, value in list(vars(module).items()):
        if name.startswith("__") or isinstance(value, types.ModuleType):
            continue
        if callable(value):
            functions[name] = value
            continue
        with suppress(TypeError, ValueError, RecursionError):
            size = len(codec.dumps(value))
            if size <= min(left, _VALUE_BYTES):
                values[name], left = value, left - size
    return list(functions.values()), codec.dumps({"functions": list(functions), "values": values})
