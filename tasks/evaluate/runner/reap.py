"""Kill every process that a candidate started, and wait until none is left."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from dataclasses import dataclass, field

IN_CONTAINER = os.getpid() == 1
"""Whether this process is process 1 of a container, so that every visible process descends from it. Forked children
inherit the value."""


@dataclass
class Usage:
    """Total resource use of all processes of a candidate.

    Attributes:
        statuses: Exit code of each process by its process id; the negated signal number if a signal killed it.
        cpu_s: Processor time, user and system, seconds.
        peak_mib: Peak resident memory of the largest process, MiB.
    """

    statuses: dict[int, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    peak_mib: float = 0.0

    def add(self, pid: int, status: int, used: resource.struct_rusage) -> None:
        self.statuses[pid] = os.waitstatus_to_exitcode(status)
        self.cpu_s += used.ru_utime + used.ru_stime
        self.peak_mib = max(self.peak_mib, used.ru_maxrss / 1024)


def end_all() -> Usage:
    """Kill every descendant of this process, and wait until the kernel reports that there is none left."""
    usage = Usage()
    while True:
        _kill_all()
        try:
            pid, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            return usage
        usage.add(pid, status, used)


def _kill_all() -> None:
    if IN_CONTAINER:
        # -1 addresses all processes but process 1 and this one.
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return
    # Outside a container -1 would address every process of the machine. Grandchildren become children when their
    # parents die.
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        for pid in file.read().split():
            os.kill(int(pid), signal.SIGKILL)
