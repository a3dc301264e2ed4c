"""Base class of tables of settings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


def as_list(value: Any) -> Any:
    """Return a single value as a list of one, for settings that are lists."""
    return value if isinstance(value, list | tuple) else [value]


class Section(BaseModel):
    """An immutable table of settings that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
