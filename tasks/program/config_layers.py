"""Parse settings from `--set`, nested as in TOML, and merge settings in layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.algorithm_settings import settings_for
from schemas.errors import UsageError
from tasks.program.bounded_parsing import parse_json, parse_toml


def merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge layers into one table, recursively; a later layer overrides an earlier one.

    Where a later layer names another algorithm, settings of the earlier one do not apply; a name alone keeps the
    settings of the same one.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, given in layer.items():
            value = {"name": given} if key == "algorithm" and isinstance(given, str) else given
            earlier = merged.get(key)
            if key == "algorithm" and isinstance(earlier, dict) and isinstance(value, dict):
                earlier = settings_for(value, earlier)
            merged[key] = merge([earlier, value]) if isinstance(earlier, dict) and isinstance(value, dict) else value
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
