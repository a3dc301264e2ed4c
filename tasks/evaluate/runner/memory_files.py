"""Pass data between processes of the runner through files in memory, so that the runner never has it in its own memory.

A child inherits all of the runner's memory, and a candidate can read all memory of its process. So one child writes the
data that a candidate must not see (the inputs, results of other candidates), another child reads it, and the runner
holds only file descriptors.
"""

from __future__ import annotations

import json
import marshal
import os
import struct
from typing import Any

from . import frames, plain_json

_LOCATION = struct.Struct("<QQ")
"""Location of an input in the file: offset and length."""


class MemoryFile:
    """A file in memory. It must be created before the system-call filter is installed, which forbids creating more."""

    def __init__(self, name: str) -> None:
        self._file = os.memfd_create(name)

    def clear(self) -> None:
        os.ftruncate(self._file, 0)

    def append(self, data: bytes) -> None:
        offset, view = os.fstat(self._file).st_size, memoryview(data)
        while view:
            written = os.pwrite(self._file, view, offset)
            offset, view = offset + written, view[written:]

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        left = os.fstat(self._file).st_size - offset if length is None else length
        pieces = []
        while left > 0 and (piece := os.pread(self._file, left, offset)):
            pieces.append(piece)
            offset, left = offset + len(piece), left - len(piece)
        return b"".join(pieces)


def receive_inputs(file: MemoryFile) -> None:
    """Read the frame of inputs from standard input into a file, in a child process.

    Raises:
        RuntimeError: If the child fails.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            write_inputs(file, frames.read_frame(0))
            status = 0
        finally:
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError("the inputs could not be taken in; are they too large for the memory limit?")


def write_inputs(file: MemoryFile, frame: bytes) -> None:
    """Write a table of locations, then each input, marshalled."""
    inputs = [marshal.dumps((plain_json.decode(args), plain_json.decode(kwargs))) for args, kwargs in json.loads(frame)]
    offset = _LOCATION.size * len(inputs)
    for data in inputs:
        file.append(_LOCATION.pack(offset, len(data)))
        offset += len(data)
    for data in inputs:
        file.append(data)


def read_input(file: MemoryFile, index: int) -> bytes:
    """Return one input, marshalled."""
    return file.read(*_LOCATION.unpack(file.read(index * _LOCATION.size, _LOCATION.size)))


def write_parts(file: MemoryFile, *parts: Any) -> None:
    for part in parts:
        file.append(frames.frame(part))


def read_parts(file: MemoryFile) -> list[bytes]:
    """Return the contents of all frames in a file."""
    data, parts, offset = file.read(), [], 0
    while offset < len(data):
        (length,) = frames.LENGTH.unpack_from(data, offset)
        offset += frames.LENGTH.size
        parts.append(data[offset : offset + length])
        offset += length
    return parts
