"""Files in memory: what processes of the runner hand to each other without the runner having it in its own memory.

A child inherits all of the runner's memory, and a candidate can read all of its own. So what one candidate must not
know of (the inputs, what another said) is written by one child and read by another, and the runner holds descriptors
alone.
"""

from __future__ import annotations

import json
import marshal
import os
import struct
from typing import Any

from . import frames, plain_json

_PLACE = struct.Struct("<QQ")
"""Where an input is in the store: offset and length."""


class MemoryFile:
    """One such file. Made before the filter of system calls, which forbids more of them."""

    def __init__(self, name: str) -> None:
        self._file = os.memfd_create(name)

    def clear(self) -> None:
        os.ftruncate(self._file, 0)

    def append(self, data: bytes) -> None:
        at, view = os.fstat(self._file).st_size, memoryview(data)
        while view:
            written = os.pwrite(self._file, view, at)
            at, view = at + written, view[written:]

    def read(self, at: int = 0, length: int | None = None) -> bytes:
        left = os.fstat(self._file).st_size - at if length is None else length
        pieces = []
        while left > 0 and (piece := os.pread(self._file, left, at)):
            pieces.append(piece)
            at, left = at + len(piece), left - len(piece)
        return b"".join(pieces)


def take_inputs(store: MemoryFile) -> None:
    """Reads the frame of inputs from standard input into a store, in a child.

    Raises:
        RuntimeError: If it cannot be done.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            write_inputs(store, frames.read_frame(0))
            status = 0
        finally:
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError("the inputs could not be taken in; are they too large for the memory limit?")


def write_inputs(store: MemoryFile, frame: bytes) -> None:
    """Writes each input marshalled, after a table of where each is."""
    inputs = [marshal.dumps((plain_json.decode(args), plain_json.decode(kwargs))) for args, kwargs in json.loads(frame)]
    at = _PLACE.size * len(inputs)
    for data in inputs:
        store.append(_PLACE.pack(at, len(data)))
        at += len(data)
    for data in inputs:
        store.append(data)


def read_input(store: MemoryFile, index: int) -> bytes:
    """One input, marshalled."""
    return store.read(*_PLACE.unpack(store.read(index * _PLACE.size, _PLACE.size)))


def write_parts(store: MemoryFile, *parts: Any) -> None:
    for part in parts:
        store.append(frames.frame(part))


def read_parts(store: MemoryFile) -> list[bytes]:
    """The frames in a store."""
    data, parts, at = store.read(), [], 0
    while at < len(data):
        (length,) = frames.LENGTH.unpack_from(data, at)
        at += frames.LENGTH.size
        parts.append(data[at : at + length])
        at += length
    return parts
