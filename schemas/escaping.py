"""Text of strangers made safe to look at: what a terminal would obey, or nobody would see, is shown as an escape."""

from __future__ import annotations

import re
import unicodedata

_RANGES = (
    # Controls but newline and tab, DEL, and C1: 0x9b begins a command to a terminal as ESC [ does.
    *((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F)),
    # Marks that reverse text, and characters without a shape. The ends of lines that only some programs see as such.
    *((0x00AD, 0x00AD), (0x034F, 0x034F), (0x0600, 0x0605), (0x061C, 0x061C), (0x06DD, 0x06DD), (0x070F, 0x070F)),
    *((0x0890, 0x0891), (0x08E2, 0x08E2), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F)),
    *((0x2028, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800), (0x3164, 0x3164), (0xD800, 0xDFFF), (0xFE00, 0xFE0F)),
    *((0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x110BD, 0x110BD), (0x110CD, 0x110CD)),
    *((0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)
"""First and last of each range of Unicode: categories Cc, Cf, Cs, Zl, Zp, and what a font shows nothing for."""

UNSEEN = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _RANGES) + "]")
"""One character that a reader does not see, or a terminal obeys."""


_HIGHEST = 8
"""Marks on one letter that are shown: no language writes more, and a pile of them hides the lines above and below."""

_PILES = re.compile(rf"[^\x00-\x7f]{{{_HIGHEST + 1},}}")
"""Where there may be more."""


def escape_invisible(text: str) -> str:
    r"""Return the text with such characters as Python writes them: `\x1b`, `\u202e`, `\U000e0041`.

    A text that has none is returned as it is, and so is one that was made visible before. Of a pile of marks on one
    letter those on top are shown so, too.
    """
    seen = UNSEEN.sub(lambda found: escape(found[0]), text)
    return seen if seen.isascii() else _PILES.sub(lambda found: _without_top(found[0]), seen)


def _without_top(text: str) -> str:
    shown: list[str] = []
    height = 0
    for character in text:
        height = height + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        shown.append(character if height <= _HIGHEST else escape(character))
    return "".join(shown)


def escape(character: str) -> str:
    """Return one character as Python writes it."""
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
