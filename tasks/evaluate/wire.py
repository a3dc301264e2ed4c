"""The host's end of the stream: Docker's demultiplexing, and frames out of pieces."""

from __future__ import annotations

import struct

from tasks.evaluate.runner.frames import LENGTH

_STREAM = struct.Struct(">BxxxL")
"""Before every piece of an attached container's output: which stream, and the piece's length."""

_STDOUT, _STDERR = 1, 2

MAX_FRAME = 64 * 2**20
"""Bytes. A runner caps what it sends; a longer frame is a broken stream, not a long answer."""


class WireFault(Exception):
    """The stream is not what the engine and the runner write."""


class Demultiplexer:
    """Takes an attached container's output apart into standard output and standard error."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What `data` completes of either stream.

        Args:
            data: The next piece from the socket, of any length.

        Raises:
            WireFault: If it is no output of a container without a terminal.
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
    """Frames out of a stream that comes in pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> bytes | None:
        """The next frame, or None if it is not whole yet.

        Raises:
            WireFault: If it claims to be longer than any runner's frame.
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
