"""Escape control characters in everything that is written to a terminal, so that untrusted text cannot control it.

After `protect`, all text written to `sys.stdout` or `sys.stderr` is escaped where that is a terminal: results, errors,
warnings, output of libraries, tracebacks. Only `console` bypasses this, because Rich sends control sequences of its
own; it escapes the text between them. In files and pipes, data is left
unchanged, but for characters that their encoding lacks.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from overnight.schemas.escaping import escape_invisible

if TYPE_CHECKING:
    from rich.console import Console


class _EscapingBuffer:
    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

    def write(self, data: bytes) -> int:
        self._terminal.write(escape_invisible(self._decode(bytes(data))))
        return len(data)

    def writelines(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal.buffer, name)


class _EscapingStream:
    """Text stream that escapes what it writes to a terminal.

    Its `isatty` returns False, so that no library sends control sequences.

    Attributes:
        terminal: The wrapped stream.
        buffer: The stream for bytes.
    """

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal
        self.buffer = _EscapingBuffer(terminal)

    def write(self, text: str) -> int:
        self.terminal.write(escape_invisible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)


def protect() -> None:
    """Replace `sys.stdout` and `sys.stderr` by escaping streams where they are terminals. Idempotent.

    Characters that the encoding lacks are escaped everywhere.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        if stream is not None and stream.isatty():
            setattr(sys, name, cast("TextIO", _EscapingStream(stream)))


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is connected to a terminal."""
    return stream is not None and (isinstance(stream, _EscapingStream) or stream.isatty())


def tell_nobody(stream: IO[str]) -> None:
    """Let what is written to a stream, whose reader has ended, go to nobody."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nobody, stream.fileno())
    os.close(nobody)


def console(*, stderr: bool) -> Console:
    """Return a Rich console for stdout or stderr."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class LastingConsole(Console):
        """Console whose reader may end: a night goes on, and what is told to nobody is no error."""

        def on_broken_pipe(self) -> None:
            tell_nobody(self.file)

    class EscapingConsole(LastingConsole):
        """Console that escapes text but keeps its own control sequences."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                text = segment.text if segment.control else escape_invisible(segment.text)
                yield segment if text == segment.text else Segment(text, segment.style)

    stream = sys.stderr if stderr else sys.stdout
    if not isinstance(stream, _EscapingStream):
        return LastingConsole(stderr=stderr, highlight=False, emoji=False)
    return EscapingConsole(file=stream.terminal, stderr=stderr, highlight=False, emoji=False)
