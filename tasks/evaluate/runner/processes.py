"""End every process of a candidate, and add up what all of them used."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

IN_CONTAINER = os.getpid() == 1
"""Whether this process is process 1 of a container, so that every visible process descends from it. Forked children
inherit the value."""

_MEMORY = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_PROCESSOR = ("/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpuacct/cpuacct.usage")


@dataclass
class Usage:
    """Total resource use of all processes of a candidate that were waited for.

    Attributes:
        statuses: Exit code of each process by its process id; the negated signal number if a signal killed it.
        cpu_s: Processor time, user and system, seconds.
        peak_mib: Peak resident memory of the largest process, MiB.
    """

    statuses: dict[int, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    peak_mib: float = 0.0


def end_all() -> Usage:
    """Kill every descendant of this process, and wait until the kernel reports that there is none left."""
    usage = Usage()
    while True:
        _kill_all()
        try:
            pid, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            return usage
        usage.statuses[pid] = os.waitstatus_to_exitcode(status)
        usage.cpu_s += used.ru_utime + used.ru_stime
        usage.peak_mib = max(usage.peak_mib, used.ru_maxrss / 1024)


def _kill_all() -> None:
    if IN_CONTAINER:
        # -1 addresses all processes but process 1 and this one.
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return
    # Outside a container -1 would address every process of the machine. Grandchildren become children when their
    # parents die.
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        for pid in file.read().split():
            os.kill(int(pid), signal.SIGKILL)


@dataclass(frozen=True)
class CgroupCounters:
    """The kernel's totals of all processes of the container, without this one.

    Attributes:
        memory_kills: Number of processes that the kernel killed because memory ran out.
        cpu_s: Processor time, including processes that no parent waited for, seconds.
    """

    memory_kills: int = 0
    cpu_s: float = 0.0

    def since(self, before: CgroupCounters) -> CgroupCounters:
        return CgroupCounters(self.memory_kills - before.memory_kills, self.cpu_s - before.cpu_s)


class Cgroup:
    """Reader of the counters of this container's control group, version 2 or 1.

    They stay 0 outside a container and where the engine shows none.
    """

    def __init__(self) -> None:
        self._memory, self._processor = _open(_MEMORY), _open(_PROCESSOR)

    def read(self) -> CgroupCounters:
        processor = _read_numbers(self._processor)
        # Version 1 has a single unnamed number, in nanoseconds.
        cpu_s = processor.get(b"usage_usec", 0) / 1e6 or processor.get(b"", 0) / 1e9
        return CgroupCounters(_read_numbers(self._memory).get(b"oom_kill", 0), cpu_s - time.process_time())


def _open(paths: Sequence[str]) -> int | None:
    found = next((path for path in paths if IN_CONTAINER and os.path.exists(path)), None)
    return os.open(found, os.O_RDONLY) if found else None


def _read_numbers(file: int | None) -> dict[bytes, int]:
    if file is None:
        return {}
    fields = (line.rpartition(b" ") for line in os.pread(file, 4096, 0).splitlines())
    return {name: int(number) for name, _, number in fields}
