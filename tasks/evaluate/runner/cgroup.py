"""What the kernel has counted for this container: in its control group, of version 2 or 1, which it sees as its own."""

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
    """What all of the container's processes but this one came to.

    Attributes:
        memory_kills: How often the kernel has killed for want of memory.
        cpu_s: Seconds of processor time, that of processes nobody waited for included.
    """

    memory_kills: int = 0
    cpu_s: float = 0.0

    def since(self, before: CgroupCounters) -> CgroupCounters:
        return CgroupCounters(self.memory_kills - before.memory_kills, self.cpu_s - before.cpu_s)


class Cgroup:
    """Reads the counters; they stay at 0 where an engine shows none, and outside a container."""

    def __init__(self) -> None:
        self._memory, self._processor = _open(_MEMORY), _open(_PROCESSOR)

    def read(self) -> CgroupCounters:
        processor = _numbers(self._processor)
        # In version 1 one number alone, of nanoseconds.
        all_s = processor.get(b"usage_usec", 0) / 1e6 or processor.get(b"", 0) / 1e9
        return CgroupCounters(_numbers(self._memory).get(b"oom_kill", 0), all_s - time.process_time())


def _open(places: Sequence[str]) -> int | None:
    found = next((path for path in places if reap.ALONE and os.path.exists(path)), None)
    return os.open(found, os.O_RDONLY) if found else None


def _numbers(file: int | None) -> dict[bytes, int]:
    if file is None:
        return {}
    fields = (line.rpartition(b" ") for line in os.pread(file, 4096, 0).splitlines())
    return {name: int(number) for name, _, number in fields}
