"""Limits and form of what a scoring says beside the score of an input: metrics, which are numbers by name, and notes.

The host applies the same limits again, since a report is hostile text.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Sequence
from typing import Any

MOST_METRICS = 32
"""Maximum number of metrics of an input."""

METRIC_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/%+ -]{0,63}")
"""Name of a metric: up to 64 characters that need no escape anywhere."""

METRICS_BYTES = 4096
"""Maximum size of an input's metrics in a report, bytes: names and numbers of up to 25 characters."""

_INPUT_CHARS, _ALL_CHARS, _FEW_CHARS = 4096, 65536, 64
"""Maximum size of the notes of an input, and of all inputs together unless that leaves each too few, characters."""

_ROWS = 100
"""Rows that are kept at either end of a table."""

_CELL_CHARS = 200
"""Maximum length of a cell of a table, characters."""

_LARGEST = sys.float_info.max

ESCAPED_BYTES = 12
"""Maximum bytes of a character in JSON."""


def is_finite(number: int | float) -> bool:
    """Return whether a number is a finite float, or a whole number that fits into one."""
    return abs(number) <= _LARGEST


def note_chars(inputs: int) -> int:
    """Return the maximum length of the notes of each of so many inputs, characters."""
    return max(_FEW_CHARS, min(_INPUT_CHARS, _ALL_CHARS // max(1, inputs)))


def note_text(value: Any, chars: int) -> str:
    """Return a note as text of at most so many characters: of a table a line for each row, of anything else `str`.

    It raises nothing; what cannot be shown is left out.
    """
    if isinstance(value, bytes | bytearray):
        value = bytes(value[:chars] + value[-chars:]).decode("utf-8", "replace")
    elif isinstance(value, dict):
        value = "\n".join(f"{_cell(name)}: {_cell(one)}" for name, one in _ends(list(value.items())))
    elif isinstance(value, list | tuple) and value and all(isinstance(row, list | tuple | dict) for row in value):
        value = "\n".join(" | ".join(_cells(row)) for row in _ends(value))
    return head_and_tail(value if isinstance(value, str) else capped_text(value, 2 * chars), chars)


def head_and_tail(text: str, chars: int) -> str:
    """Return the beginning and the end of a text that is longer than so many characters."""
    if len(text) <= chars:
        return text
    half = (chars - len(_GAP)) // 2
    return f"{text[:half]}{_GAP}{text[-half:]}"


_GAP = "\n…\n"
"""Mark of what is left out."""


def _ends(rows: Sequence[Any]) -> Sequence[Any]:
    """Return some rows at either end."""
    return rows if len(rows) <= 2 * _ROWS else [*rows[:_ROWS], ("…", ""), *rows[-_ROWS:]]


def _cells(row: Any) -> list[str]:
    cells = [f"{name}={_cell(one)}" for name, one in row.items()] if isinstance(row, dict) else map(_cell, row)
    return list(itertools.islice(cells, _ROWS))


def _cell(value: Any) -> str:
    return capped_text(value, _CELL_CHARS)


def capped_text(value: Any, width: int) -> str:
    """Return `str(value)`, cut to `width` characters; empty if the candidate's own `__str__` raises."""
    try:
        return str(value)[:width]
    except BaseException:  # noqa: BLE001  str() runs the candidate's own code
        return ""
