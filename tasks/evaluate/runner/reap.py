"""Ends everything a candidate started, and proves that nothing is left."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from dataclasses import dataclass, field

ALONE = os.getpid() == 1
"""Whether every process that can be seen is below this one: in a container. What it forks inherits the answer."""


@dataclass
class Usage:
    """What all processes of a candidate used together.

    Attributes:
        statuses: Exit code of each by its id; minus the signal's number if one killed it.
        cpu_s: Seconds of processor time, user and system.
        peak_mib: Resident memory of the largest process at its peak, MiB.
    """

    statuses: dict[int, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    peak_mib: float = 0.0

    def add(self, pid: int, status: int, used: resource.struct_rusage) -> None:
        self.statuses[pid] = os.waitstatus_to_exitcode(status)
        self.cpu_s += used.ru_utime + used.ru_stime
        self.peak_mib = max(self.peak_mib, used.ru_maxrss / 1024)


def end_all() -> Usage:
    """Kills every process below this one and waits until the kernel says that there is none."""
    usage = Usage()
    while True:
        _kill_all()
        try:
            pid, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            return usage
        usage.add(pid, status, used)


def _kill_all() -> None:
    if ALONE:
        # All but process 1 and this one.
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return
    # Outside a container -1 would be everything on the machine. Grandchildren become children as their parents die.
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        for pid in file.read().split():
            os.kill(int(pid), signal.SIGKILL)
