"""Store a child's output, up to a bound, in memory that no later child inherits.

Ordinary memory would keep the data after use, and every later candidate could find it there.
"""

from __future__ import annotations

import mmap
import os


class BoundedBuffer:
    """Buffer of the first bytes read from a pipe.

    Attributes:
        length: Number of bytes stored; one more than the bound if the pipe had more.
    """

    def __init__(self, bound: int) -> None:
        self.length = 0
        self._bound = bound
        self._memory = mmap.mmap(-1, bound + 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory.madvise(mmap.MADV_DONTFORK)

    @property
    def is_over(self) -> bool:
        return self.length > self._bound

    def take(self, descriptor: int) -> int:
        """Read the available bytes that fit; return their number, 0 at the end of the pipe or if the buffer is full."""
        with memoryview(self._memory) as whole, whole[self.length :] as rest:
            taken = os.readv(descriptor, [rest])
        self.length += taken
        return taken

    def count_lines(self, since: int) -> int:
        """Return the number of line ends stored from offset `since` on."""
        count, position = 0, since
        while (position := self._memory.find(b"\n", position, self.length) + 1) > 0:
            count += 1
        return count

    def view(self) -> memoryview:
        """Return the stored bytes within the bound, without a copy."""
        return memoryview(self._memory)[: min(self.length, self._bound)]
