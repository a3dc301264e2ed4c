"""Processor time of processes."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def processor_s() -> float:
    """Return the processor time of this process so far, seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def processor_s_of(process: int) -> float:
    """Return the processor time of another process so far, seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
