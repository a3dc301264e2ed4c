"""Limits of a query on time and memory, and the errors for exceeding them."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import QueryError


@dataclass(frozen=True)
class QueryLimits:
    """Limits of one query, whose time starts when this object is created.

    Attributes:
        timeout_s: Seconds that the query may take; `None` for no limit.
        pid: Id of the process that answers it.
        max_bytes: Limit on that process's resident memory.
        started: Start of the query on the monotonic clock.
    """

    timeout_s: float | None
    pid: int
    max_bytes: float
    started: float = field(default_factory=time.monotonic)

    def remaining_s(self) -> float:
        """Return the seconds that the query may still take.

        Raises:
            QueryError: If it takes too long or too much memory.
        """
        timeout_s = math.inf if self.timeout_s is None else self.timeout_s
        left_s = self.started + timeout_s - time.monotonic()
        if left_s <= 0:
            raise QueryError(
                f"no answer within {timeout_s:g} s",
                remedy="Ask for less, or allow more time: --timeout SECONDS, in the shell .timeout SECONDS",
            )
        if resident_bytes(self.pid) > self.max_bytes:
            raise memory_error()
        return left_s


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
