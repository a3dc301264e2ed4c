"""Answer SQL over a history in a separate process, which is killed when it exceeds its time or memory.

DuckDB cannot be interrupted within a function, and does not count all the memory that a function takes.
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
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from overnight.schemas.errors import EnvironmentFault, OvernightError, QueryError

if TYPE_CHECKING:
    import pyarrow as pa

_POLL_S = 0.02
_SLACK_BYTES = 256 * 2**20
"""Memory that the process may take beyond the limit that DuckDB enforces in it."""

_PIPE_BYTES = 65536
_ERRORS: dict[str, type[OvernightError]] = {"QueryError": QueryError, "EnvironmentFault": EnvironmentFault}


class QueryProcess:
    """Process that answers queries one after another; after a kill, the next query starts a new one.

    It has the arguments of `Database`.

    Attributes:
        history: Directory of the history, as an absolute path.
    """

    def __init__(self, history: Path, run_id: str | None = None, only: Sequence[str] = ()) -> None:
        self.history = history.resolve()
        self._start = partial(_Child, self.history, run_id, only)
        self._child: _Child | None = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_until_ready(self) -> None:
        """Wait until the process can start a query immediately."""
        self._ready()

    def query(self, sql: str, parameters: list[Any] | None = None, *, timeout_s: float | None = None) -> pa.Table:
        """Run one query in the process, with the arguments and errors of `Database.query`.

        Raises:
            EnvironmentFault: If there is no room for the answer, or the process ended by itself.
        """
        child = self._ready()
        try:
            child.send({"sql": sql, "parameters": parameters})
            reply = child.receive(timeout_s)
        except BaseException:  # also Ctrl-C: only a kill is sure to end the query
            self.close()
            raise
        _raise_error(reply)
        return child.answer()

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ready(self) -> _Child:
        if self._child is None:
            self._child = self._start()
        try:
            self._child.wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self._child


class _Child:
    """One process, the pipes to it, and the file for its answers."""

    def __init__(self, history: Path, run_id: str | None, only: Sequence[str]) -> None:
        self._answer, self._errors = _unnamed_file(), _unnamed_file()
        self._is_ready = False
        self._max_bytes = math.inf
        self._received = b""
        descriptor = self._answer.fileno()
        job = json.dumps({"history": str(history), "answers": descriptor, "run_id": run_id, "only": [*only]})
        # Without -P, modules in the working directory would replace ours.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "overnight.tasks.history.query_worker", job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=[descriptor],
            process_group=0,  # Ctrl-C reaches only this process, which then ends the child
        )

    def wait_until_ready(self) -> None:
        """Wait until the process has opened the history."""
        if self._is_ready:
            return
        importlib.import_module("pyarrow")  # slow, and needed for the answer: import it while the process starts
        reply = self.receive(None)
        _raise_error(reply)
        self._max_bytes = resident_bytes(self._process.pid) + reply["max_bytes"] + _SLACK_BYTES
        self._is_ready = True

    def send(self, request: dict[str, Any]) -> None:
        """Send a request; if the process has ended, `receive` raises the error."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, timeout_s: float | None) -> dict[str, Any]:
        """Wait for one reply.

        Raises:
            QueryError: If the process takes too long or too much memory.
            EnvironmentFault: If it ended by itself.
        """
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        end = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
        while b"\n" not in self._received:
            if time.monotonic() >= end:
                raise QueryError(
                    f"no answer within {timeout_s:g} s",
                    remedy="Ask for less, or allow more time: --timeout SECONDS, in the shell .timeout SECONDS",
                )
            if resident_bytes(self._process.pid) > self._max_bytes:
                raise memory_error()
            if select.select([pipe], [], [], _POLL_S)[0]:
                chunk = os.read(pipe, _PIPE_BYTES)
                if not chunk:
                    self._raise_end()
                self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def answer(self) -> pa.Table:
        import pyarrow as pa

        self._answer.seek(0)
        return pa.ipc.open_file(pa.py_buffer(self._answer.read())).read_all()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answer.close()
        self._errors.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # closing flushes unsent data
                    pipe.close()

    def _raise_end(self) -> None:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            raise memory_error()  # Overnight did not kill it, so the kernel did, for lack of memory
        self._errors.seek(0)
        output = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        if code == -signal.SIGABRT and output and "bad_alloc" in output[-1]:
            raise memory_error()
        raise EnvironmentFault(
            f"the process that answers queries ended with {code}: {output[-1] if output else 'no output'}",
            remedy="Ask again; `overnight doctor` checks the environment.",
        )


def _unnamed_file() -> IO[bytes]:
    """Return a temporary file with a descriptor above 2, even where standard streams are closed."""
    with tempfile.TemporaryFile(prefix="overnight-sql-") as file:
        return open(fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 3), "w+b")


def _raise_error(reply: dict[str, Any]) -> None:
    if "error" in reply:
        kind, message, remedy = reply["error"]
        raise _ERRORS.get(kind, OvernightError)(message, remedy=remedy)


def memory_error() -> QueryError:
    """Return the error of a query that takes too much memory."""
    return QueryError(
        "the query needs more than half of the memory",
        remedy="Queries write nothing, so nothing is spilled to disk. Ask for fewer columns or rows.",
    )


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if there is no such process, or no /proc."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
