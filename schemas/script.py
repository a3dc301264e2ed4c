"""The `# /// script` block of a file (PEP 723): what it needs, and our settings."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from schemas.errors import SpecificationError

_BLOCK = re.compile(r"(?m)^# /// script\s*$\s(?P<content>(^#(| .*)$\s)+)^# ///\s*$")
"""The regular expression PEP 723 itself gives, for blocks of the type `script`."""

_OPENING = "# /// script"


def script_block(text: str, name: str) -> dict[str, Any]:
    """The TOML of the file's PEP 723 block; empty if it has none.

    Raises:
        SpecificationError: If there are several, or one has no end or is no TOML.
    """
    found = list(_BLOCK.finditer(text))
    if len(found) > 1:
        raise SpecificationError(f"{name}: {len(found)} `# /// script` blocks, expected one", remedy="Merge them.")
    if not found:
        _refuse_half_a_block(text, name)
        return {}
    lines = found[0].group("content").splitlines()
    content = "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise SpecificationError(
            f"{name}: the `# /// script` block is no TOML: {error}",
            remedy="Its lines are counted from the block's own.",
        ) from error


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
