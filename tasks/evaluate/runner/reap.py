"""Ends everything a candidate started, and proves that nothing is left."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from dataclasses import dataclass


@dataclass
class Usage:
    """What all processes of a candidate used together.

    Attributes:
        status: Exit code of the child itself; minus the signal's number if one killed it.
        cpu_s: Seconds of processor time, user and system.
        peak_mib: Resident memory of the largest process at its peak, MiB.
    """

    status: int = 0
    cpu_s: float = 0.0
    peak_mib: float = 0.0

    def add(self, used: resource.struct_rusage) -> None:
        self.cpu_s += used.ru_utime + used.ru_stime
        self.peak_mib = max(self.peak_mib, used.ru_maxrss / 1024)


def end_all(child: int) -> Usage:
    """Kills every process below this one and waits until the kernel says that there is none.

    Args:
        child: The one whose exit status counts.
    """
    usage = Usage()
    while True:
        _kill_all()
        try:
            pid, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            return usage
        usage.add(used)
        if pid == child:
            usage.status = os.waitstatus_to_exitcode(status)


def _kill_all() -> None:
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return
    # Outside a container -1 would be everything on the machine. Grandchildren become children as their parents die.
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        for pid in file.read().split():
            os.kill(int(pid), signal.SIGKILL)
