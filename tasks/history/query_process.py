"""Answer SQL over a history in a separate process, which is killed when it exceeds its time or memory.

DuckDB cannot be interrupted within a function, and does not count all the memory that a function takes.
"""

from __future__ import annotations

import contextlib
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
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from overnight.schemas.errors import EnvironmentFault, OvernightError, QueryError

if TYPE_CHECKING:
    import pyarrow as pa

    from overnight.tasks.history.query_guard import Limits

_POLL_S = 0.02
_SLACK_BYTES = 256 * 2**20
"""Memory that the process may take beyond the limit that DuckDB enforces in it."""


class QueryProcess:
    """Process that answers queries one after another; after a kill, the next query starts a new one.

    It has the arguments of `Database`.

    Attributes:
        history: Directory of the history, as an absolute path.
    """

    def __init__(self, history: Path, run_id: str | None = None, limits: Limits | None = None) -> None:
        self.history = history.resolve()
        self._start = partial(_Child, self.history, run_id, limits)
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
            EnvironmentFault: If the process ended by itself.
        """
        child = self._ready()
        with self._closed_on_error():
            reply = child.ask({"sql": sql, "parameters": parameters}, timeout_s)
        _raise_error(reply)
        with self._closed_on_error():
            return child.answer()

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ready(self) -> _Child:
        self._child = self._child or self._start()
        with self._closed_on_error():
            self._child.wait_until_ready()
        return self._child

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:  # also Ctrl-C: only a kill is sure to end the query
            self.close()
            raise


class _Child:
    """One process: it gets requests as lines of JSON, and sends replies as such, each answer after its reply."""

    def __init__(self, history: Path, run_id: str | None, limits: Limits | None) -> None:
        self._limits = limits
        self._errors = tempfile.TemporaryFile(prefix="overnight-sql-")  # noqa: SIM115  (open as long as the process)
        self._is_ready = False
        self._max_bytes = math.inf
        job = json.dumps({"history": str(history), "run_id": run_id, "limits": limits and asdict(limits)})
        # Without -P, modules in the working directory would replace ours.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "overnight.tasks.history.query_worker", job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            process_group=0,  # Ctrl-C reaches only this process, which then ends the child
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout

    def wait_until_ready(self) -> None:
        """Wait until the process has opened the history."""
        if not self._is_ready:
            importlib.import_module("pyarrow")  # slow, and needed for the answer: import it while the process starts
            reply = self._reply(None)
            _raise_error(reply)
            self._max_bytes = resident_bytes(self._process.pid) + reply["max_bytes"] + _SLACK_BYTES
            self._is_ready = True

    def ask(self, request: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Raises:
            QueryError: If the process takes too long or too much memory.
            EnvironmentFault: If it ended by itself.
        """
        with contextlib.suppress(BrokenPipeError):  # the process has ended, of which there is no reply either
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        return self._reply(timeout_s)

    def _reply(self, timeout_s: float | None) -> dict[str, Any]:
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not select.select([self._replies], [], [], _POLL_S)[0]:
            if time.monotonic() >= end:
                raise QueryError(
                    f"no answer within {timeout_s:g} s",
                    remedy="Ask for less, or allow more time: --timeout SECONDS, in the shell .timeout SECONDS",
                )
            if resident_bytes(self._process.pid) > self._max_bytes:
                raise memory_error(self._limits)
        if not (line := self._replies.readline()):
            raise self._end()
        return json.loads(line)

    def answer(self) -> pa.Table:
        """Read the table that follows a reply."""
        import pyarrow as pa

        try:
            return pa.ipc.open_stream(self._replies).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise self._end() from error

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for file in (self._errors, self._replies, self._requests):
            with contextlib.suppress(BrokenPipeError):  # closing flushes unsent data
                file.close()

    def _end(self) -> QueryError | EnvironmentFault:
        """Return the error of a process that ended by itself, or whose answer cannot be read."""
        for pipe in (self._requests, self._replies):  # else one that goes on writing would never end
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        code = self._process.wait()
        self._errors.seek(0)
        output = self._errors.read().decode("utf-8", "replace").strip().splitlines() or ["no output"]
        # Overnight did not kill it, so the kernel did, for lack of memory.
        if code == -signal.SIGKILL or (code == -signal.SIGABRT and "bad_alloc" in output[-1]):
            return memory_error(self._limits)
        return EnvironmentFault(
            f"the process that answers queries ended with {code}: {output[-1]}",
            remedy="Ask again; `overnight doctor` checks the environment.",
        )


def _raise_error(reply: dict[str, Any]) -> None:
    if "error" in reply:
        kind, message, remedy = reply["error"]
        raise (QueryError if kind == QueryError.__name__ else OvernightError)(message, remedy=remedy)


def memory_error(limits: Limits | None = None) -> QueryError:
    """Return the error of a query that takes too much memory."""
    return QueryError(
        f"the query needs more than {f'{limits.memory_mib} MiB' if limits else 'half'} of the memory",
        remedy="Queries write nothing, so nothing is spilled to disk. Ask for fewer columns or rows.",
    )


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if there is no such process, or no /proc."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
