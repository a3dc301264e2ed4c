"""Read settings from TOML files and `--set`, nested as in TOML, and merge them in layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas import problem_folder
from schemas.algorithm_settings import with_current_names
from schemas.bounded_parsing import parse_json, parse_toml
from schemas.errors import UsageError


def merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge layers into one table, recursively; a later layer overrides an earlier one.

    Settings of `search` that have the names of version 0.1 are renamed first, so that layers may use either name.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, given in layer.items():
            value = with_current_names(given) if key == "search" else given
            earlier = merged.get(key)
            merged[key] = merge([earlier, value]) if isinstance(earlier, dict) and isinstance(value, dict) else value
    return merged


def read_toml(settings: Path) -> dict[str, Any]:
    """Read a problem's settings file; return no tables if there is no file.

    Raises:
        UsageError: If the file is not TOML, or is a link out of its folder.
    """
    if problem_folder.locate(settings.parent, settings.name) is None:
        return {}
    text = problem_folder.read_text(settings.parent, settings.name)
    try:
        return parse_toml(text)
    except ValueError as error:
        raise UsageError(f"{settings}: not valid TOML: {error}", remedy="Correct the file.") from error


def set_by_path(target: dict[str, Any], assignment: str) -> None:
    """Put an assignment such as `search.islands=4` into nested settings.

    The value is parsed as JSON or TOML; anything else is text.

    Raises:
        UsageError: If there is no `=`, or the value begins like an array or a table and is neither JSON nor TOML.
    """
    name, separator, raw = assignment.partition("=")
    if not separator or not name:
        raise UsageError(f"--set expects key=value, got {assignment!r}", remedy="For example: --set search.islands=4")
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
