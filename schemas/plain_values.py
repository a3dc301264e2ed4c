"""Limits on plain values, such as parsed JSON, TOML or YAML of strangers: safe to merge, traverse and serialise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MAX_LEVELS = 64
"""Limit on levels of nesting."""

TOO_DEEP = f"it is nested more than {MAX_LEVELS} levels deep"
TOO_LARGE = "an integer has more than 64 bits"


def require_plain(value: Any) -> None:
    """Raise a ValueError unless a parsed value is safe to merge, traverse and serialise.

    It must not be nested too deeply, and have no integer of more than 64 bits, and no text that is not valid Unicode.
    """
    level, depth = [value], 0
    while level:
        if depth > MAX_LEVELS:
            raise ValueError(TOO_DEEP)
        for item in level:
            _require_plain_leaf(item)
        level, depth = [child for item in level for child in _children(item)], depth + 1


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list | tuple | set) else ()


def _require_plain_leaf(value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(TOO_LARGE)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("a text contains half of a surrogate pair") from None
