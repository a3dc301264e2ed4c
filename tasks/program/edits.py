"""Parse and apply edits of the best version, written as search and replace blocks.

The format is Aider's, which OpenEvolve and ShinkaEvolve use, too: `<<<<<<< SEARCH`, the old lines, `=======`, the new
lines, `>>>>>>> REPLACE`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_MARKS = tuple(
    re.compile(mark) for mark in (r"[ \t]*<{5,9} ?SEARCH[ \t]*$", r"[ \t]*={5,9}[ \t]*$", r"[ \t]*>{5,9} ?REPLACE")
)
"""Lines before the old lines, between the old and the new lines, and after the new lines."""


class EditError(Exception):
    """Error of an edit that cannot be applied."""


def begins_edit(line: str) -> bool:
    """Return whether a line is the mark before the old lines of an edit."""
    return _MARKS[0].match(line) is not None


def ends_edit(line: str) -> bool:
    """Return whether a line is the mark after the new lines of an edit."""
    return _MARKS[2].match(line) is not None


def has_edits(text: str) -> bool:
    """Return whether an edit begins in a completion."""
    return any(map(begins_edit, text.split("\n")))


def parse_edits(text: str) -> list[tuple[str, str]]:
    """Return the old and new lines of each edit in a completion, in order."""
    # Line by line: one pattern for a whole edit would search for its end from every line that may begin one.
    edits: list[tuple[str, str]] = []
    parts: list[str] = []
    for line in text.split("\n"):
        if _MARKS[len(parts)].match(line):
            parts.append("")
        elif parts:
            parts[-1] += f"{line}\n"
        if len(parts) == len(_MARKS):
            edits.append((parts[0], parts[1]))
            parts = []
    return edits


def apply_edits(text: str, edits: Sequence[tuple[str, str]]) -> str:
    """Apply all edits to a text, each at the first match of its old lines, and return the result.

    Spaces at the ends of lines are ignored.

    Raises:
        EditError: If the old lines of an edit are not in the text.
    """
    lines = text.splitlines()
    for number, (old, new) in enumerate(edits, start=1):
        old_lines = old.splitlines()
        start = _find_lines(lines, old_lines)
        if start is None:
            raise EditError(f"edit {number} of {len(edits)}: the lines to replace are not in the best version")
        lines[start : start + len(old_lines)] = new.splitlines()
    return "".join(f"{line}\n" for line in lines)


def _find_lines(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Return the index at which the wanted lines start; `None` if they are blank or not found."""
    lines = [line.rstrip() for line in lines]
    wanted = [line.rstrip() for line in wanted]
    if not any(wanted):
        return None
    return next((start for start in range(len(lines)) if lines[start : start + len(wanted)] == wanted), None)
