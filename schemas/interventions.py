"""Interventions of people in a search while it runs: hints, pinned programs, and programs that are taken out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

MAX_PROMPTS = 1_000_000
"""Limit on the prompts that a hint or a pin is for."""

MAX_CHARS = 2_000
"""Limit on the text of a hint or a reason, characters."""

DROPPED = "a person took it out of the search"
"""Beginning of the error of a program that was dropped."""


class Kind(StrEnum):
    """Kind of intervention; a closed list."""

    HINT = "hint"
    """Prompts tell the model a text."""
    PIN = "pin"
    """Prompts have a program as their base."""
    WITHDRAWAL = "withdrawal"
    """All hints and pins before it end."""
    DROP = "drop"
    """A program counts as failed."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """One thing that a person asked for.

    Attributes:
        author: Login name of the person.
        text: Text of a hint, or why a program is dropped.
        program_id: The program that is pinned or dropped; else empty.
        prompts: Number of prompts that a hint or a pin is for; `None` for all until it is withdrawn.
        with_descendants: Whether what is built on a dropped program is dropped, too.
        generation: Generation of the first prompt that it may change.
        place: For a drop, position in the order of endings of the last generation that still had the program; else 0.
        night: Number of the night that took it; `None` if none was under way.
    """

    id: str
    kind: Kind
    asked_at: datetime
    author: str
    text: str = ""
    program_id: str = ""
    prompts: Annotated[int, Field(le=MAX_PROMPTS)] | None = None
    with_descendants: bool = False
    generation: int = 0
    prompt: int = 0
    place: int = 0
    night: int | None = None

    @property
    def begins(self) -> tuple[int, int]:
        """Generation and index of the first prompt that it may change."""
        return self.generation, self.prompt

    @property
    def words(self) -> str:
        """The request, in words."""
        match self.kind:
            case Kind.HINT:
                return f"hint: {self.text}"
            case Kind.PIN:
                return f"pinned {self.program_id}"
            case Kind.WITHDRAWAL:
                return "hints and pins withdrawn"
            case Kind.DROP:
                return f"dropped {self.program_id}{f': {self.text}' if self.text else ''}"
