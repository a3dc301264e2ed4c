"""How often the kernel has killed for want of memory in this container."""

from __future__ import annotations

import os

_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
"""Of control groups version 2 and 1, as a container sees its own."""


class KillCounter:
    """Reads the counter; stays at 0 where an engine shows none."""

    def __init__(self) -> None:
        found = next((path for path in _COUNTERS if os.path.exists(path)), None)
        self._file = os.open(found, os.O_RDONLY) if found else None

    def read(self) -> int:
        if self._file is None:
            return 0
        for line in os.pread(self._file, 4096, 0).splitlines():
            name, _, count = line.partition(b" ")
            if name == b"oom_kill":
                return int(count)
        return 0
