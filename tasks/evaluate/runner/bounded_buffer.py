"""What a child wrote, up to a bound, in memory that no later child inherits.

In memory of the usual kind it would stay when it is no more needed, and every later candidate could find it there.
"""

from __future__ import annotations

import mmap
import os


class BoundedBuffer:
    """The first so many bytes out of a pipe.

    Attributes:
        length: Bytes kept; one more than the bound where there were more.
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
        """Reads what there is and fits; how many bytes, 0 at the end and where no more fit."""
        with memoryview(self._memory) as whole, whole[self.length :] as rest:
            taken = os.readv(descriptor, [rest])
        self.length += taken
        return taken

    def count_lines(self, since: int) -> int:
        """How many lines ended since so many bytes were kept."""
        count, place = 0, since
        while (place := self._memory.find(b"\n", place, self.length) + 1) > 0:
            count += 1
        return count

    def view(self) -> memoryview:
        """What was kept, within the bound: not a copy."""
        return memoryview(self._memory)[: min(self.length, self._bound)]
