"""The number of processors that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""File in which a container or a batch system limits the processor time, with cgroups version 2."""


def usable_processors(quota: Path = _QUOTA) -> int:
    """Return the number of processors that affinity and the cgroup's quota leave, at least 1.

    Args:
        quota: File with the quota and its period, microseconds.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        limit, period = quota.read_text().split()
        return max(1, min(allowed, math.ceil(int(limit) / int(period))))
    except (OSError, ValueError):  # there is none, or it says "max"
        return allowed
