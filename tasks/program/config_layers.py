"""Read settings from a file's `# /// script` block (PEP 723) and from `--set`, and merge them in layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from overnight.schemas.algorithm_settings import settings_for
from overnight.schemas.errors import SpecificationError, UsageError
from overnight.tasks.program.bounded_parsing import parse_json, parse_toml
from overnight.tasks.program.source_lines import split_lines

_OPENING, _END = "# /// script", "# ///"


def script_block(text: str, name: str) -> dict[str, Any]:
    """Return the tables of a file's PEP 723 block; empty if it has no block.

    Raises:
        SpecificationError: If there are several blocks, or one has no end or is not TOML.
    """
    found = _blocks(text.split("\n"))
    if len(found) > 1:
        raise SpecificationError(
            f"{name}: {len(found)} `# /// script` blocks, expected one", remedy="Merge them into one."
        )
    if not found:
        _refuse_incomplete_block(text, name)
        return {}
    ((first, lines),) = found
    above = "\n" * first  # so that the line in an error is that of the file
    try:
        return parse_toml(above + "".join(f"{line.removeprefix('#').removeprefix(' ')}\n" for line in lines))
    except ValueError as error:
        raise SpecificationError(
            f"{name}: the `# /// script` block is not valid TOML: {error}", remedy="Correct that line of the file."
        ) from error


def _blocks(lines: list[str]) -> list[tuple[int, list[str]]]:
    """Return the lines within each block, from an opening to the last end among the comment lines that follow it.

    Each comes with the number of lines of the file above it.

    The regular expression of PEP 723 finds the same blocks, but takes quadratic time on hostile text.
    """
    found: list[tuple[int, list[str]]] = []
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
            found.append((first, lines[first : ends[-1]]))
    return found


def _refuse_incomplete_block(text: str, name: str) -> None:
    """Refuse a block without an end. PEP 723 ignores it, so that all its settings would silently be lost."""
    lines = split_lines(text)
    if _OPENING not in lines:
        return
    inside = range(lines.index(_OPENING) + 1, len(lines))
    end = next((number for number in inside if not re.match(r"#( |$)", lines[number])), len(lines))
    got = repr(lines[end]) if end < len(lines) else "the end of the file"
    raise SpecificationError(
        f"{name}:{end + 1}: the `# /// script` block is incomplete: expected a line that begins with `# `, got {got}",
        remedy="Begin each line of the block with `# `, empty ones with `#`, and end the block with `# ///`.",
    )


def merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge layers into one table, recursively; a later layer overrides an earlier one.

    Where a later layer names another algorithm, or another judge, settings of the earlier one do not apply, such as its
    address; a name alone keeps the settings of the same one.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, given in layer.items():
            value = {"name": given} if key in ("algorithm", "judge") and isinstance(given, str) else given
            earlier = merged.get(key)
            if isinstance(earlier, dict) and isinstance(value, dict):
                if key == "algorithm":
                    earlier = settings_for(value, earlier)
                elif key == "judge" and value.get("name") not in (None, earlier.get("name")):
                    earlier = {}
                value = merge([earlier, value])
            merged[key] = value
    return merged


def set_by_path(target: dict[str, Any], assignment: str) -> None:
    """Put an assignment such as `search.prompts=4` into nested settings.

    The value is parsed as JSON or TOML; anything else is text.

    Raises:
        UsageError: If there is no `=`, or the value begins like an array or a table and is neither JSON nor TOML.
    """
    name, separator, raw = assignment.partition("=")
    if not separator or not name:
        raise UsageError(f"--set expects key=value, got {assignment!r}", remedy="For example: --set search.prompts=4")
    *tables, key = name.strip().split(".")
    for table in tables:
        target = target.setdefault(table, {})
        if not isinstance(target, dict):
            raise UsageError(
                f"--set {assignment}: `{table}` is already set to {target!r}", remedy="Set only one of them."
            )
    target[key] = _value(raw, assignment)


def _value(raw: str, assignment: str) -> Any:
    try:
        return parse_json(raw)
    except ValueError as error:
        if not raw.startswith(("[", "{")):  # text, also where TOML would see a date or a time
            return raw
        json_error = error
    try:
        return parse_toml(f"value = {raw}")["value"]
    except ValueError as error:
        raise UsageError(
            f"--set {assignment}: neither JSON ({json_error}) nor TOML ({error})",
            remedy="For example: --set 'validation=[8, 9]'; quote the whole assignment to protect it from the shell.",
        ) from error
