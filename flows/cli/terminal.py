"""The one door to a terminal: what other people wrote is shown there and never obeyed.

Once `protect` was called, whatever is written to `sys.stdout` or `sys.stderr` goes through here if it is a terminal:
answers, errors, warnings, what libraries say, tracebacks. Only `console` writes past it, since it makes commands to the
terminal of its own; it shows the text between them escaped. Elsewhere, in files and pipes, data stays as it is.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO, cast

from schemas.escaping import escape_invisible

if TYPE_CHECKING:
    from rich.console import Console


class _EscapingBuffer:
    """The bytes of an `_EscapingStream`."""

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
    """A terminal to write to. It denies being one, so that no library sends it commands.

    Attributes:
        terminal: The stream behind it.
        buffer: For bytes.
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
    """Put the door before each of this process's two outputs that is a terminal; more than once is fine.

    What the terminal's encoding does not have is escaped, too.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty():
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, cast("TextIO", _EscapingStream(stream)))


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at what is written to, or types what is read from, a standard stream."""
    return stream is not None and (isinstance(stream, _EscapingStream) or stream.isatty())


def console(*, stderr: bool) -> Console:
    """Return a console for one of the two outputs."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class EscapingConsole(Console):
        """A console that escapes all text, and nothing of its own making."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                text = segment.text if segment.control else escape_invisible(segment.text)
                yield segment if text == segment.text else Segment(text, segment.style)

    stream = sys.stderr if stderr else sys.stdout
    if not isinstance(stream, _EscapingStream):
        return Console(stderr=stderr, highlight=False, emoji=False)
    return EscapingConsole(file=stream.terminal, stderr=stderr, highlight=False, emoji=False)
