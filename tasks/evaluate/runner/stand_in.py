"""Stand in for a program that runs in a process of its own, in the processes that a command starts.

A command that imports its candidate's file gets a file that only calls `fill`: the module then has functions of the
same names, which ask the program's process. It is imported from a copy beside that file, as `overnight_calls.stand_in`,
by any Python of the image. Such a process has none of the runner's descriptors, so it makes two named pipes and asks
for a *session*: a process that loads the program anew and answers one call at a time.
"""

from __future__ import annotations

import builtins
import itertools
import os
import select
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from . import codec, rpc

ASK, CALLS, ANSWERS = "ask", "calls", "answers"
"""Names of the pipe on which a session is asked for, and last parts of the names of its two pipes."""

TEXT = '''"""Functions that run in a process of their own."""
def __overnight__(namespace):
    import sys
    sys.path.insert(0, {folder!r})
    try:
        from overnight_calls.stand_in import fill
    finally:
        sys.path.remove({folder!r})
    fill(namespace, {pipes!r})
__overnight__(globals())
'''
"""Text of the file in a program's place, with the folder of `overnight_calls` and that of the pipes."""

_numbers = itertools.count()

lost: rpc.EvolvedProcessLost | None = None
"""Loss of a program in this process, after which there is no score, whatever catches the error."""


def fill(namespace: dict[str, Any], pipes: str) -> None:
    """Load the program, and define its functions and plain values in a module's namespace, unless it has that name.

    None has the name of a builtin, and `import *` gets none of them: they could take the place of what scores.

    Raises:
        EvolvedError: If the program raises an error when it is loaded.
        EvolvedProcessLost: If its process is gone.
    """
    program = _Program(pipes)
    found = program.values | {name: program.function(name) for name in program.functions}
    for name, value in found.items():
        if name.isidentifier() and not name.startswith("__") and not hasattr(builtins, name):
            namespace.setdefault(name, value)
    namespace.setdefault("__all__", [])


class _Session(rpc.RemoteFunctions):
    """A process that has loaded the program.

    Attributes:
        functions: Names of the functions that it has.
        values: Its plain values by name.
    """

    def __init__(self, pipes: str) -> None:
        self.functions: list[str] = []
        self._descriptors = _open_pipes(pipes)
        super().__init__(self.functions, rpc.Connection(*self._descriptors))
        self.await_ready()
        about = self._load(self.ready)
        try:
            names, values = about["functions"], about["values"]
            self.functions += [name for name in names if type(name) is str]
            self.values: dict[str, Any] = {name: value for name, value in values.items() if type(name) is str}
        except (TypeError, KeyError, AttributeError):
            raise self._mark_lost({"gone": True}) from None

    def close(self) -> None:
        """Close this process's ends of the pipes, which ends the session."""
        for descriptor in self._descriptors:
            os.close(descriptor)

    def _mark_lost(self, record: dict[str, Any]) -> rpc.EvolvedProcessLost:
        global lost
        lost = super()._mark_lost(record)
        return lost

    def _load(self, data: bytes) -> Any:
        """Decode an answer; numpy is imported once an answer may need it."""
        if not codec.has_numpy():
            try:
                return codec.loads(data)
            except codec.Malformed:
                _use_numpy(is_needed=True)
        return super()._load(data)


class _Program:
    """The program, as one module of a process sees it. A call takes an idle session, or begins one.

    So calls from several threads run at the same time, and one that never returns holds up no other.
    """

    def __init__(self, pipes: str) -> None:
        self._pipes, self._lock, self._process = pipes, threading.Lock(), os.getpid()
        first = _Session(pipes)
        self._idle = [first]
        self._lost: BaseException | None = None
        self.functions, self.values = first.functions, first.values

    def function(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, args, kwargs)

        call.__name__ = call.__qualname__ = name
        return call

    def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._lost is not None:
            raise self._lost
        _use_numpy(is_needed=False)
        session, is_whole = self._take(), False
        try:
            value = session.call(session.functions.index(name), args, kwargs)
            is_whole = True
        except rpc.EvolvedError as error:
            is_whole = True
            if error.description["line"]:
                error.add_note(f"in line {error.description['line']} of the program: {error.description['code']}")
            raise
        except rpc.EvolvedProcessLost as lost:
            self._lost = lost
            raise
        finally:
            # Where a signal's handler has raised, the answer is still to come.
            if is_whole:
                self._idle.append(session)
            else:
                session.close()
        return value

    def _take(self) -> _Session:
        with self._lock:
            if self._process != os.getpid():  # a fork: the sessions are the parent's
                for session in self._idle:
                    session.close()
                self._process, self._idle = os.getpid(), []
            if self._idle:
                return self._idle.pop()
        return _Session(self._pipes)  # which may take long: programs that are slow to load are loaded side by side


def _use_numpy(*, is_needed: bool) -> None:
    """Let arrays cross, if this process uses numpy, or needs it now and has it."""
    if codec.has_numpy() or not (is_needed or "numpy" in sys.modules):
        return
    if find_spec("numpy") is not None:
        import numpy  # most processes do without

        codec.register_numpy(numpy)


def _open_pipes(folder: str) -> tuple[int, int]:
    """Ask for a session; return the descriptors of its answers and of its calls, once it is there.

    Raises:
        EvolvedProcessLost: If the process that begins sessions is gone.
    """
    name = f"{os.getpid()}-{next(_numbers)}"
    calls, answers = (os.path.join(folder, f"{name}.{end}") for end in (CALLS, ANSWERS))
    for path, mode in ((calls, 0o644), (answers, 0o622)):
        os.mkfifo(path)
        os.chmod(path, mode)  # whatever the umask is; they are another user's to open
    incoming = os.open(answers, os.O_RDONLY | os.O_NONBLOCK)
    held = os.open(calls, os.O_RDWR)  # the other side need not wait for this one
    # The program may import what lies where the importing script looks for modules.
    rpc.Connection(incoming, held).send(rpc.PATH, codec.dumps([path for path in sys.path if path]))
    try:
        ask = os.open(os.path.join(folder, ASK), os.O_WRONLY | os.O_NONBLOCK)
        os.write(ask, f"{name}\n".encode())
        poll = select.poll()
        poll.register(incoming, select.POLLIN)
        poll.register(ask, 0)  # an error once nobody reads it
        found = [descriptor for descriptor, _ in poll.poll()]
        os.close(ask)
        if incoming not in found:
            raise BrokenPipeError
        outgoing = os.open(calls, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        raise rpc.EvolvedProcessLost({"gone": True}) from None
    finally:
        os.close(held)
        for path in (calls, answers):
            os.unlink(path)
    os.set_blocking(incoming, True)
    os.set_blocking(outgoing, True)
    return incoming, outgoing
