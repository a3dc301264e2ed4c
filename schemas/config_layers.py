"""Settings from several places, nested as in TOML: files, `--set`, and one layer over the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas import problem_folder
from schemas.algorithm_settings import with_current_names
from schemas.bounded_parsing import parse_json, parse_toml
from schemas.errors import UsageError


def merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge layers into one table, later ones over earlier ones; tables within are merged likewise.

    Settings of `search` that version 0.1 named otherwise get their present names first, so that a flag may use one name
    and a file the other.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, given in layer.items():
            value = with_current_names(given) if key == "search" else given
            below = merged.get(key)
            merged[key] = merge([below, value]) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def read_toml(settings: Path) -> dict[str, Any]:
    """The tables of a problem's file of settings; none if there is no file.

    Raises:
        UsageError: If it is no TOML, or leads outside of its folder.
    """
    if problem_folder.locate(settings.parent, settings.name) is None:
        return {}
    text = problem_folder.read_text(settings.parent, settings.name)
    try:
        return parse_toml(text)
    except ValueError as error:
        raise UsageError(f"{settings}: no TOML: {error}", remedy="Mend it.") from error


def set_by_path(target: dict[str, Any], assignment: str) -> None:
    """Puts `search.islands=4` into nested settings; the value is read as JSON or TOML, else taken as text.

    Raises:
        UsageError: If there is no `=`, or an array or a table is neither.
    """
    name, separator, raw = assignment.partition("=")
    if not separator or not name:
        raise UsageError(f"--set takes key=value, got {assignment!r}", remedy="For example: --set search.islands=4")
    *tables, key = name.strip().split(".")
    for table in tables:
        target = target.setdefault(table, {})
        if not isinstance(target, dict):
            raise UsageError(f"--set {assignment}: `{table}` was set to {target!r} before", remedy="Set only one.")
    target[key] = _value(raw, assignment)


def _value(raw: str, assignment: str) -> Any:
    try:
        return parse_json(raw)
    except ValueError as error:
        if not raw.startswith(("[", "{")):  # what TOML takes for a date or a time is text here
            return raw
        no_json = error
    try:
        return parse_toml(f"value = {raw}")["value"]
    except ValueError as error:
        raise UsageError(
            f"--set {assignment}: neither JSON ({no_json}) nor TOML ({error})",
            remedy="For example: --set 'validation=[8, 9]'; quotes around the whole keep the shell away from it.",
        ) from error
