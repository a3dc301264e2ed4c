"""The limits of a query, in words, and the memory of a process."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.errors import QueryError


def over_time(timeout_s: float) -> QueryError:
    """Return the error of a query that takes too long."""
    return QueryError(
        f"no answer within {timeout_s:g} s",
        remedy="Ask for less, or give it longer: --timeout SECONDS, in the shell .timeout SECONDS",
    )


def over_memory() -> QueryError:
    """Return the error of a query that takes too much memory."""
    return QueryError(
        "the query needs more than half of the memory",
        remedy="Nothing is spilled to disk, since a query writes nothing. Ask for fewer columns or rows.",
    )


def resident_bytes(pid: int) -> int:
    """Return the memory of a process; 0 where the kernel does not tell it so, or there is no such process."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
