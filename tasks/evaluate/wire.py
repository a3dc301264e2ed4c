"""Parse the stream from a container on the host: demultiplex Docker's streams, and assemble frames."""

from __future__ import annotations

import struct

from tasks.evaluate.runner.frames import LENGTH

_STREAM = struct.Struct(">BxxxL")
"""Header of every piece of an attached container's output: number of the stream, and length of the piece."""

_STDOUT, _STDERR = 1, 2

MAX_FRAME = 64 * 2**20
"""Maximum length of a frame, bytes. A runner caps its answers, so a longer frame means that the stream is broken."""


class WireFault(Exception):
    """The stream is not in the format of the engine or the runner."""


class Demultiplexer:
    """Demultiplexer of an attached container's output into standard output and standard error."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the data that `data` completes of standard output and of standard error.

        Args:
            data: Next piece from the socket, of any length.

        Raises:
            WireFault: If it is not the output of a container without a terminal.
        """
        self._buffer += data
        streams: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray()}
        while len(self._buffer) >= _STREAM.size:
            stream, length = _STREAM.unpack_from(self._buffer)
            if stream not in streams:
                raise WireFault(f"expected a piece of stream 1 or 2, got stream {stream}")
            end = _STREAM.size + length
            if len(self._buffer) < end:
                break
            streams[stream] += self._buffer[_STREAM.size : end]
            del self._buffer[:end]
        return bytes(streams[_STDOUT]), bytes(streams[_STDERR])


class FrameBuffer:
    """Buffer that assembles frames from pieces of a stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> bytes | None:
        """Return the next frame, or None if it is not complete yet.

        Raises:
            WireFault: If its declared length exceeds `MAX_FRAME`.
        """
        if len(self._buffer) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._buffer)
        if length > MAX_FRAME:
            raise WireFault(f"expected a frame of at most {MAX_FRAME} bytes, got one of {length}")
        end = LENGTH.size + length
        if len(self._buffer) < end:
            return None
        data = bytes(self._buffer[LENGTH.size : end])
        del self._buffer[:end]
        return data
