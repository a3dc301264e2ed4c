"""SQL over a history in a process of its own, which is killed at the limits of time and memory, whatever it does.

DuckDB cannot be interrupted within a function, and does not count all the memory that one takes.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from schemas.errors import EnvironmentFault, OvernightError, QueryError
from tasks.history.limits import over_memory, over_time, resident_bytes

if TYPE_CHECKING:
    import pyarrow as pa

_GLANCE_S = 0.02
_SLACK_BYTES = 256 * 2**20
"""Memory that the process may take beyond the limit which it holds itself to."""

_PIPE_BYTES = 65536
_ANSWERS: dict[str, type[OvernightError]] = {"QueryError": QueryError, "EnvironmentFault": EnvironmentFault}


class QueryProcess:
    """A process that answers queries, one after another; where one was killed, the next query starts another.

    Args:
        history: Its directory; it need not exist yet.

    Attributes:
        history: The same.
    """

    def __init__(self, history: Path) -> None:
        self.history = history.resolve()
        self._child: _Child | None = _Child(self.history)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_until_ready(self) -> None:
        """Return when a query would begin at once."""
        self._ready()

    def query(self, sql: str, parameters: list[Any] | None = None, *, timeout_s: float | None = None) -> pa.Table:
        """Run one query; Ctrl-C ends it.

        Args:
            sql: One SELECT, or an EXPLAIN of one.
            parameters: Values of its question marks.
            timeout_s: Seconds that it may take.

        Raises:
            QueryError: If the SQL is wrong, is more than a query, or takes too long or too much memory.
            EnvironmentFault: If there is no room for the answer, or the process ended by itself.
        """
        child = self._ready()
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        try:
            child.send({"sql": sql, "parameters": parameters})
            reply = child.receive(deadline)
        except TimeoutError as error:
            self.close()
            raise over_time(timeout_s or 0.0) from error
        except MemoryError as error:
            self.close()
            raise over_memory() from error
        except BaseException:  # Ctrl-C, too: what is asked is not wanted any more
            self.close()
            raise
        _raise_error(reply)
        return child.answer()

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ready(self) -> _Child:
        if self._child is None:
            self._child = _Child(self.history)
        try:
            self._child.wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self._child


class _Child:
    """One process, the pipes to it, and the file that its answers are in."""

    def __init__(self, history: Path) -> None:
        self._answer, self._errors = _unnamed_file(), _unnamed_file()
        self._is_ready = False
        self._most_bytes = math.inf
        self._read = b""
        descriptor = self._answer.fileno()
        # Without -P, the working directory could put modules of its own in place of ours.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks.history.query_worker", str(history), str(descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=[descriptor],
            process_group=0,  # Ctrl-C is for this process, which ends that one
        )

    def wait_until_ready(self) -> None:
        """Return when the process has opened the history."""
        if self._is_ready:
            return
        importlib.import_module("pyarrow")  # which takes a while, and is needed for the answer
        reply = self.receive(math.inf)
        _raise_error(reply)
        self._most_bytes = resident_bytes(self._process.pid) + reply["most_bytes"] + _SLACK_BYTES
        self._is_ready = True

    def send(self, request: dict[str, Any]) -> None:
        """Send a request; a process that has ended is found by what it does not answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, deadline: float) -> dict[str, Any]:
        """Wait for one reply, and watch the memory meanwhile.

        Raises:
            TimeoutError: At the deadline.
            MemoryError: If the process takes too much.
            EnvironmentFault: If it ended by itself.
        """
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._read:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            if resident_bytes(self._process.pid) > self._most_bytes:
                raise MemoryError
            if select.select([pipe], [], [], min(_GLANCE_S, left_s))[0]:
                piece = os.read(pipe, _PIPE_BYTES)
                if not piece:
                    self._raise_end()
                self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def answer(self) -> pa.Table:
        """Return the answer to the last request."""
        import pyarrow as pa

        self._answer.seek(0)
        return pa.ipc.open_file(pa.py_buffer(self._answer.read())).read_all()

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._answer.close()
        self._errors.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was not sent is flushed once more
                    pipe.close()

    def _raise_end(self) -> None:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            raise MemoryError  # nobody here has killed it: the kernel does, where there is no memory left
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        if code == -signal.SIGABRT and said and "bad_alloc" in said[-1]:
            raise MemoryError
        raise EnvironmentFault(
            f"the process that answers queries ended with {code}: {said[-1] if said else 'it said nothing'}",
            remedy="Ask again; `overnight doctor` looks at the environment.",
        )


def _unnamed_file() -> IO[bytes]:
    """Return a temporary file whose descriptor is none of the standard streams', which may be closed."""
    with tempfile.TemporaryFile(prefix="overnight-sql-") as file:
        return open(fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 3), "w+b")


def _raise_error(reply: dict[str, Any]) -> None:
    if "error" in reply:
        kind, message, remedy = reply["error"]
        raise _ANSWERS.get(kind, OvernightError)(message, remedy=remedy)
