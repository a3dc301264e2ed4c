"""A search algorithm: one of the latest programs is improved, whatever its score.

`--set search.algorithm=recent` chooses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar, Literal

from pydantic import Field

from overnight.schemas.algorithm import Change, Join, Plan, PromptResult, Turn
from overnight.schemas.algorithm_settings import AlgorithmSettings
from overnight.schemas.program import Program


class RecentSettings(AlgorithmSettings):
    """One of the latest programs is improved, whatever its score."""

    source: ClassVar[str] = "an example"

    name: Literal["recent"] = Field(default="recent", description="the search algorithm")
    latest: int = Field(default=20, ge=1, description="number of programs of which the base is drawn")


@dataclass
class Programs:
    """All scored programs.

    Attributes:
        programs: In order of arrival; the start program is the first.
    """

    programs: list[Program] = field(default_factory=list)

    @property
    def best(self) -> Program:
        """The best program; the first of equals."""
        return max(self.programs, key=lambda program: program.score)


class Recent:
    """Search from the latest programs, in one niche.

    Args:
        settings: Its settings.
        start: The start program.
        seed: Seed of the run.
    """

    def __init__(self, settings: RecentSettings, start: Program, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._niche = Programs([start])

    @property
    def niches(self) -> Mapping[str, Programs]:
        """The one niche."""
        return {"0": self._niche}

    @property
    def best(self) -> Program:
        """The best program; the first of equals."""
        return self._niche.best

    def ask(self, turn: Turn) -> Plan:
        """Plan a prompt that shows one program."""
        random = Random(f"{self._seed}/{turn.generation}/{turn.index}/ask")
        return Plan("0", (random.choice(self._niche.programs[-self._settings.latest :]),))

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:
        """Keep all children."""
        children = [child for result in results for child in result.children]
        self._niche.programs += children
        return [Join("0", child.id) for child in children]

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        """Apply recorded changes."""
        self._niche.programs += [programs[change.program_id] for change in changes if isinstance(change, Join)]


SETTINGS = RecentSettings
create = Recent
