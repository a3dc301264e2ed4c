"""The `# /// script` block of a file (PEP 723): what it needs, and our settings."""

from __future__ import annotations

import re
from typing import Any

from schemas.bounded_parsing import parse_toml
from schemas.errors import SpecificationError

_OPENING, _END = "# /// script", "# ///"


def script_block(text: str, name: str) -> dict[str, Any]:
    """The TOML of the file's PEP 723 block; empty if it has none.

    Raises:
        SpecificationError: If there are several, or one has no end or is no TOML.
    """
    found = _blocks(text.split("\n"))
    if len(found) > 1:
        raise SpecificationError(f"{name}: {len(found)} `# /// script` blocks, expected one", remedy="Merge them.")
    if not found:
        _refuse_half_a_block(text, name)
        return {}
    try:
        return parse_toml("\n".join(line[2:] if line.startswith("# ") else line[1:] for line in found[0]))
    except ValueError as error:
        raise SpecificationError(
            f"{name}: the `# /// script` block is no TOML: {error}",
            remedy="Its lines are counted from the block's own.",
        ) from error


def _blocks(lines: list[str]) -> list[list[str]]:
    """The lines within each block: from an opening to the last end among the lines of comment that follow on it.

    What the regular expression of PEP 723 finds, in one pass: on hostile text, that one takes quadratic time.
    """
    found: list[list[str]] = []
    number = 0
    while number < len(lines):
        number += 1
        if lines[number - 1].rstrip() != _OPENING:
            continue
        while number < len(lines) and not lines[number].strip():
            number += 1
        first = number
        while number < len(lines) and re.match(r"#( |$)", lines[number]):
            number += 1
        ends = [place for place in range(first + 1, number) if lines[place].rstrip() == _END]
        if ends:
            found.append(lines[first : ends[-1]])
    return found


def _refuse_half_a_block(text: str, name: str) -> None:
    """PEP 723 has a block that is not whole be none: all its settings would be gone without a word."""
    lines = text.splitlines()
    if _OPENING not in lines:
        return
    inside = range(lines.index(_OPENING) + 1, len(lines))
    end = next((number for number in inside if not re.match(r"#( |$)", lines[number])), len(lines))
    seen = repr(lines[end]) if end < len(lines) else "the end of the file"
    raise SpecificationError(
        f"{name}:{end + 1}: the `# /// script` block breaks off: expected a line that begins with `# `, got {seen}",
        remedy="Begin each of its lines with `# `, empty ones with `#`, and end it with `# ///`.",
    )
