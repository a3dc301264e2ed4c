"""Make untrusted text safe to display: control characters and invisible characters become escapes."""

from __future__ import annotations

import re
import unicodedata

_RANGES = (
    # Control characters except newline and tab, DEL, and C1: 0x9b begins a terminal command as ESC [ does.
    *((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F)),
    # Marks that reverse text, characters without a glyph, and line ends that only some programs recognise.
    *((0x00AD, 0x00AD), (0x034F, 0x034F), (0x0600, 0x0605), (0x061C, 0x061C), (0x06DD, 0x06DD), (0x070F, 0x070F)),
    *((0x0890, 0x0891), (0x08E2, 0x08E2), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F)),
    *((0x2028, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800), (0x3164, 0x3164), (0xD800, 0xDFFF), (0xFE00, 0xFE0F)),
    *((0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x110BD, 0x110BD), (0x110CD, 0x110CD)),
    *((0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)
"""First and last of each range of Unicode: categories Cc, Cf, Cs, Zl, Zp, and characters that fonts show as nothing."""

INVISIBLE = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _RANGES) + "]")
"""One character that is invisible or controls a terminal."""

_MAX_MARKS = 8
"""Limit on the marks shown on one letter: no language has more, and a stack of them hides the lines around it."""

_STACKS = re.compile(rf"[^\x00-\x7f]{{{_MAX_MARKS + 1},}}")
"""Passages that may contain more."""


def escape_invisible(text: str) -> str:
    r"""Return the text with invisible characters as Python escapes: `\x1b`, `\u202e`, `\U000e0041`.

    A text without such characters is unchanged, and so is an escaped text. In a stack of marks on one letter, the marks
    beyond the limit are escaped, too.
    """
    visible = INVISIBLE.sub(lambda found: escape(found[0]), text)
    return visible if visible.isascii() else _STACKS.sub(lambda found: _limit_marks(found[0]), visible)


def _limit_marks(text: str) -> str:
    shown: list[str] = []
    height = 0
    for character in text:
        height = height + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        shown.append(character if height <= _MAX_MARKS else escape(character))
    return "".join(shown)


def escape(character: str) -> str:
    """Return the Python escape of one character."""
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
