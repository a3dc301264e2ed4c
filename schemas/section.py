"""Base classes of tables of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator


def as_list(value: Any) -> Any:
    """Return a single value as a list of one, for settings that are lists."""
    return value if isinstance(value, list | tuple) else [value]


class Section(BaseModel):
    """An immutable table of settings that refuses unknown keys; the text below each says what it means, for READMEs."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CommandSection(Section):
    """A command of the user's, whose defaults may be those of a preset.

    Attributes:
        presets: Settings of known commands, by name.
        example: Example for one without words.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    example: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("preset", ""), str):
            return {**cls.presets.get(given.get("preset", ""), {}), **given}
        return given

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not getattr(self, "command", ()):
            raise ValueError(self.example)
        return self
