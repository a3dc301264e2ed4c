"""The frames of the host and the runner: length-prefixed bytes."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterable

LENGTH = struct.Struct(">I")
"""Prefix of every frame: its length in bytes."""

REQUEST = struct.Struct(">QI?")
"""Header of every candidate, in place of a frame's length: the request's number, the program's length in bytes, and
whether the program mentions numpy.

The runner reads only this header. The child reads the program, so that no later child inherits it.
"""

_CHUNK = 4096
"""Bytes that a pipe accepts without blocking once it polls as writable (PIPE_BUF)."""


def frame(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


def read_exactly(descriptor: int, count: int, *, timeout_s: float | None = None) -> bytes:
    """Read exactly `count` bytes, unbuffered.

    Args:
        descriptor: Blocking file descriptor.
        count: Number of bytes.
        timeout_s: Seconds to wait for each piece; None to wait without limit.

    Raises:
        EOFError: If the other side closed the pipe.
        TimeoutError: If no data arrived for `timeout_s`.
    """
    data = bytearray()
    while len(data) < count:
        _await(descriptor, select.POLLIN, timeout_s)
        piece = os.read(descriptor, count - len(data))
        if not piece:
            raise EOFError(f"expected {count} bytes, got {len(data)}")
        data += piece
    return bytes(data)


def read_frame(descriptor: int) -> bytes:
    (length,) = LENGTH.unpack(read_exactly(descriptor, LENGTH.size))
    return read_exactly(descriptor, length)


def write_frames(descriptor: int, frames: Iterable[bytes | memoryview], *, timeout_s: float) -> None:
    """Write frames without copying them; wait at most `timeout_s` for each piece to be read.

    Raises:
        TimeoutError: If the other side does not read, because the engine died.
    """
    remaining = [memoryview(part) for data in frames for part in (LENGTH.pack(len(data)), data)]
    while remaining:
        _await(descriptor, select.POLLOUT, timeout_s)
        sent = os.writev(descriptor, _first_chunk(remaining))
        while remaining and sent >= len(remaining[0]):
            sent -= len(remaining.pop(0))
        if sent:
            remaining[0] = remaining[0][sent:]


def _first_chunk(views: Iterable[memoryview]) -> list[memoryview]:
    """Return the first views, at most `_CHUNK` bytes in total."""
    room, chosen = _CHUNK, []
    for view in views:
        chosen.append(view[:room])
        room -= len(chosen[-1])
        if not room:
            break
    return chosen


def _await(descriptor: int, event: int, timeout_s: float | None) -> None:
    if timeout_s is None:
        return
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(timeout_s * 1000):
        raise TimeoutError(f"nothing on descriptor {descriptor} for {timeout_s} s")
