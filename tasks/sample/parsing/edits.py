"""Edits of the version that a model was shown, as search and replace blocks: what many are used to answer with.

The form is Aider's, which OpenEvolve and ShinkaEvolve ask for: `<<<<<<< SEARCH`, the old lines, `=======`, the new
ones, `>>>>>>> REPLACE`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_MARKS = tuple(
    re.compile(mark) for mark in (r"[ \t]*<{5,9} ?SEARCH[ \t]*$", r"[ \t]*={5,9}[ \t]*$", r"[ \t]*>{5,9} ?REPLACE")
)
"""Lines before the old lines, between them and the new ones, and after these."""


class EditError(Exception):
    """Edits that cannot be made."""


def edits_of(text: str) -> list[tuple[str, str]]:
    """Old and new lines of each edit in a completion, in order.

    Line by line: one pattern for a whole edit would look for its end from every line that may begin one.
    """
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


def edited(text: str, edits: Sequence[tuple[str, str]]) -> str:
    """A text with all edits made, each where its old lines stand first; spaces at the ends of lines do not count.

    Raises:
        EditError: If the old lines of one are nowhere.
    """
    lines = text.splitlines()
    for number, (old, new) in enumerate(edits, start=1):
        place = _find(lines, wanted := old.splitlines())
        if place is None:
            raise EditError(f"edit {number} of {len(edits)}: the lines to replace are not in the best version")
        lines[place : place + len(wanted)] = new.splitlines()
    return "".join(f"{line}\n" for line in lines)


def _find(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Where the wanted lines begin; `None` if they are nowhere, or none."""
    bare, sought = ([line.rstrip() for line in some] for some in (lines, wanted))
    if not any(sought):
        return None
    return next((place for place in range(len(bare)) if bare[place : place + len(sought)] == sought), None)
