"""Convert plain data to JSON and back, including tuples and keys that are not strings.

A list stays a list; a tuple becomes `{"tuple": [...]}` and a dict becomes `{"dict": [[key, value], ...]}`.
"""

from __future__ import annotations

from typing import Any


def encode(value: Any) -> Any:
    """Return the value in a form that `json.dumps` accepts.

    Raises:
        TypeError: If the value is not plain data.
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [encode(item) for item in value]
    if kind is tuple:
        return {"tuple": [encode(item) for item in value]}
    if kind is dict:
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    raise TypeError(f"{kind.__name__} is not plain data (None, bool, int, float, str, list, tuple, dict)")


def decode(value: Any) -> Any:
    """Return the value that `encode` was given, from the result of `json.loads`."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        if "tuple" in value:
            return tuple(decode(item) for item in value["tuple"])
        return {decode(key): decode(item) for key, item in value["dict"]}
    return value
