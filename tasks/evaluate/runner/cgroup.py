"""Read the kernel's counters of this container's control group, version 2 or 1."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from . import reap

_MEMORY = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_PROCESSOR = ("/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpuacct/cpuacct.usage")


@dataclass(frozen=True)
class CgroupCounters:
    """Totals of all processes of the container, without this one.

    Attributes:
        memory_kills: Number of processes that the kernel killed because memory ran out.
        cpu_s: Processor time, including processes that no parent waited for, seconds.
    """

    memory_kills: int = 0
    cpu_s: float = 0.0

    def since(self, before: CgroupCounters) -> CgroupCounters:
        return CgroupCounters(self.memory_kills - before.memory_kills, self.cpu_s - before.cpu_s)


class Cgroup:
    """Reader of the counters, which stay 0 outside a container and where the engine shows none."""

    def __init__(self) -> None:
        self._memory, self._processor = _open(_MEMORY), _open(_PROCESSOR)

    def read(self) -> CgroupCounters:
        processor = _read_numbers(self._processor)
        # Version 1 has a single unnamed number, in nanoseconds.
        cpu_s = processor.get(b"usage_usec", 0) / 1e6 or processor.get(b"", 0) / 1e9
        return CgroupCounters(_read_numbers(self._memory).get(b"oom_kill", 0), cpu_s - time.process_time())


def _open(paths: Sequence[str]) -> int | None:
    found = next((path for path in paths if reap.IN_CONTAINER and os.path.exists(path)), None)
    return os.open(found, os.O_RDONLY) if found else None


def _read_numbers(file: int | None) -> dict[bytes, int]:
    if file is None:
        return {}
    fields = (line.rpartition(b" ") for line in os.pread(file, 4096, 0).splitlines())
    return {name: int(number) for name, _, number in fields}
