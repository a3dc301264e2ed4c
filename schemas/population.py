"""How a population changes in a generation: programs join islands, islands are reset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Join:
    """A scored program is registered on an island."""

    island: int
    program_id: str


@dataclass(frozen=True, slots=True)
class Reset:
    """An island is emptied, and a founder, the best of another island, is its first program."""

    island: int
    founder_id: str


Change = Join | Reset
