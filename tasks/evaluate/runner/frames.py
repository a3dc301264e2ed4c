"""Length-prefixed frames over file descriptors; the host builds and reads the same ones."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterable

LENGTH = struct.Struct(">I")
"""Before every frame: its length in bytes."""

REQUEST = struct.Struct(">QI?")
"""Before every candidate, instead of a frame's length: its number, the length of its program in bytes, and whether it
speaks of numpy.

The runner reads this alone. The program is read by the child, so that no later child inherits it.
"""

_CHUNK = 4096
"""A pipe that polls as writable takes this much (PIPE_BUF) without blocking."""


def frame(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


def read_exactly(descriptor: int, count: int, *, patience_s: float | None = None) -> bytes:
    """Exactly so many bytes, unbuffered.

    Args:
        descriptor: A blocking file descriptor.
        count: How many bytes.
        patience_s: Seconds to wait for each piece; None for ever.

    Raises:
        EOFError: If the other side has closed.
        TimeoutError: If nothing came for `patience_s`.
    """
    data = bytearray()
    while len(data) < count:
        _await(descriptor, select.POLLIN, patience_s)
        piece = os.read(descriptor, count - len(data))
        if not piece:
            raise EOFError(f"expected {count} bytes, got {len(data)}")
        data += piece
    return bytes(data)


def read_frame(descriptor: int) -> bytes:
    (length,) = LENGTH.unpack(read_exactly(descriptor, LENGTH.size))
    return read_exactly(descriptor, length)


def write_frames(descriptor: int, frames: Iterable[bytes | memoryview], *, patience_s: float) -> None:
    """Writes them without a copy, but waits no longer than `patience_s` for a reader of each piece.

    Raises:
        TimeoutError: If nobody reads: the engine died and took the other side with it.
    """
    left = [memoryview(part) for data in frames for part in (LENGTH.pack(len(data)), data)]
    while left:
        _await(descriptor, select.POLLOUT, patience_s)
        sent = os.writev(descriptor, _chunk(left))
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if sent:
            left[0] = left[0][sent:]


def _chunk(views: Iterable[memoryview]) -> list[memoryview]:
    """The first of them, no more than a chunk."""
    room, chosen = _CHUNK, []
    for view in views:
        chosen.append(view[:room])
        room -= len(chosen[-1])
        if not room:
            break
    return chosen


def _await(descriptor: int, event: int, patience_s: float | None) -> None:
    if patience_s is None:
        return
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(patience_s * 1000):
        raise TimeoutError(f"nothing on descriptor {descriptor} for {patience_s} s")
