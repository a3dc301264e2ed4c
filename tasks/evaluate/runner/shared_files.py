"""Files in memory that the processes of an isolated evaluation share."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Sequence

from . import frames
from .job import marshalled

_LOCATION = struct.Struct("<QQ")
"""Location of an input in the file of inputs: offset and length."""


class MemoryFile:
    """A file in memory."""

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

    def map(self, size: int) -> mmap.mmap:
        """Return memory of this size, in which others read what is written there; used pages alone take memory."""
        self.clear()
        os.ftruncate(self._file, size)
        return mmap.mmap(self._file, size)


class SharedFiles:
    """Data that the processes of a candidate share; it must be created before the system-call filter is installed.

    Attributes:
        inputs: All inputs, written once.
        program: The candidate's program, for the processes of every input.
        parts: Header, report and output of each input so far, as frames.
        unchecked: The same of the input whose calls are to be checked.
        calls: The record of its calls, which its scoring process writes.
    """

    def __init__(self) -> None:
        names = ("inputs", "program", "parts", "unchecked", "calls")
        self.inputs, self.program, self.parts, self.unchecked, self.calls = map(MemoryFile, names)

    def receive_inputs(self) -> None:
        """Read the frame of inputs from standard input, in a child process.

        Raises:
            RuntimeError: If the child fails.
        """
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._write_inputs(marshalled(json.loads(frames.read_frame(0))))
                status = 0
            finally:
                os._exit(status)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise RuntimeError("the inputs could not be taken in; are they too large for the memory limit?")

    def _write_inputs(self, inputs: Sequence[bytes]) -> None:
        """Write a table of locations, then each input, marshalled."""
        offset = _LOCATION.size * len(inputs)
        for data in inputs:
            self.inputs.append(_LOCATION.pack(offset, len(data)))
            offset += len(data)
        for data in inputs:
            self.inputs.append(data)

    def read_input(self, index: int) -> bytes:
        """Return one input, marshalled."""
        return self.inputs.read(*_LOCATION.unpack(self.inputs.read(index * _LOCATION.size, _LOCATION.size)))

    def read_parts(self) -> list[bytes]:
        return self._read_frames(self.parts)

    def take_unchecked(self) -> list[bytes]:
        """Return the parts of the input that is being checked, and drop them."""
        parts = self._read_frames(self.unchecked)
        self.unchecked.clear()
        return parts

    @staticmethod
    def _read_frames(file: MemoryFile) -> list[bytes]:
        data, parts, offset = file.read(), [], 0
        while offset < len(data):
            (length,) = frames.LENGTH.unpack_from(data, offset)
            offset += frames.LENGTH.size
            parts.append(data[offset : offset + length])
            offset += length
        return parts
