"""Sparkline: a line of characters that shows how a number went, in blocks or in ASCII."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-:=+*#"
"""Characters of a terminal whose encoding lacks blocks, by how much ink they have."""


def spark(values: Sequence[float], width: int, encoding: str = "utf-8") -> str:
    """Return a line of characters that shows at most `width` of the values, evenly spaced, the last included.

    Args:
        values: The values, in order.
        width: Most characters of the line.
        encoding: Encoding of the terminal.
    """
    count = min(width, len(values))
    shown = [values[(index + 1) * len(values) // count - 1] for index in range(count)]
    low, high = min(shown), max(shown)
    characters = _BLOCKS if _has_blocks(encoding) else _ASCII
    scale = (len(characters) - 1) / (high - low) if high > low else 0.0
    return "".join(characters[round((value - low) * scale)] for value in shown)


def _has_blocks(encoding: str) -> bool:
    try:
        _BLOCKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
