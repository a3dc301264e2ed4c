"""The seam between the flows and a search algorithm: which programs a prompt shows, and which scored programs stay.

An algorithm does no I/O and reads no clock. Its state is a function of what it was told, so that a run can be resumed
and replayed from its files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from overnight.schemas.feedback import Feedback
from overnight.schemas.operators import Operator
from overnight.schemas.program import Program


@dataclass(frozen=True, slots=True)
class Turn:
    """The position of a prompt that is to be planned.

    Attributes:
        generation: Its generation, from 1.
        index: Its place in the generation, from 0.
        slot: Its place among the prompts in flight, from 0; 0 where there is no window. It follows from the other two.
            An algorithm that draws nothing selects as if as many of its own selections were in flight already, so that
            the prompts of one moment differ.
    """

    generation: int
    index: int
    slot: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """The programs that one prompt shows.

    Attributes:
        niche: Sub-population of the programs shown; a scored child is registered there.
        shown: At least one program, in ascending order of score, but for the base, which is the last.
        feedback: On a failed or worse child of the base, or of a program that it came from, to be shown in the prompt.
        tried_on: Program that this child changed; `None` for the base.
        operator: Kind of change that is asked for; `None` leaves it to the model.
        model: Name of the model to ask; empty to draw one by weight.
        failed: Child of the base that is to be repaired; `None` for all operators but `repair`.
        tactic: Line of thought to follow, of `tactic`; what a person suggests, of `hint`; else empty.
        tried: Ideas that were tried before, as the prompt lists them.
        rivals: Where several objectives count, programs of the front that are better than the base in one.
        gap: With two objectives, the ends of the widest gap of the front, of which the base is one, if it is asked for.
        keeps_score: Whether the score of the base is enough, with more in another objective.
        best: Best program of the run; `None` where the base is no worse.
        angle: Line of thought that tells the prompt from others which are asked at the same time; else empty.
    """

    niche: str
    shown: tuple[Program, ...]
    feedback: Feedback | None = None
    operator: Operator | None = None
    model: str = ""
    failed: Feedback | None = None
    tactic: str = ""
    tried: str = ""
    rivals: tuple[Program, ...] = ()
    tried_on: Program | None = None
    best: Program | None = None
    angle: str = ""
    gap: tuple[Program, Program] | None = None
    keeps_score: bool = False

    @property
    def base(self) -> Program:
        """The last program shown; the model is asked to improve it."""
        return self.shown[-1]


@dataclass(frozen=True, slots=True)
class Join:
    """A scored program is registered in a niche."""

    niche: str
    program_id: str


@dataclass(frozen=True, slots=True)
class Reset:
    """A niche is emptied, and a founder, the best program of another niche, becomes its first program."""

    niche: str
    founder_id: str


@dataclass(frozen=True, slots=True)
class Expand:
    """A program was the base of a prompt; the joins that follow, up to the next expansion, are its children.

    Attributes:
        samples: Number of samples that got a verdict, failed ones too.
    """

    niche: str
    program_id: str
    samples: int


@dataclass(frozen=True, slots=True)
class Correct:
    """The verdict on a claim: a program that was registered before has lower scores than was told, or none.

    Attributes:
        is_removed: Whether it has none, and so is no longer in the niche.
    """

    niche: str
    program_id: str
    is_removed: bool


Change = Join | Reset | Expand | Correct
"""A change of an algorithm's state, as the history records it."""


@dataclass(frozen=True, slots=True)
class PromptResult:
    """The results of one prompt's samples.

    Attributes:
        niche: Niche of its plan.
        base_id: Id of the base program of its plan.
        samples: Number of samples that got a verdict, failed ones too; a fault of the sandbox is no verdict.
        children: The scored programs, in order.
    """

    niche: str
    base_id: str
    samples: int
    children: tuple[Program, ...] = ()


class Niche(Protocol):
    """A sub-population: an island, an archive cell, a subtree."""

    @property
    def best(self) -> Program:
        """The best program; the first of equals."""
        ...

    @property
    def programs(self) -> Sequence[Program]:
        """All living programs."""
        ...


class Algorithm(Protocol):
    """A search algorithm, to be asked for plans and told of results (ask/tell)."""

    @property
    def niches(self) -> Mapping[str, Niche]:
        """All niches by name, in a fixed order. None is empty."""
        ...

    @property
    def best(self) -> Program:
        """The best living program; the first of equals."""
        ...

    def ask(self, turn: Turn) -> Plan:
        """Plan one prompt. Changes nothing that a later answer depends on."""
        ...

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:
        """Register the scored children of prompts.

        Args:
            generation: Their generation, from 1; settles what is random.
            results: One for each prompt, in order.
            reset: Whether the settings' periodic reset is due after them.

        Returns:
            What changed, in order. `replay` of it on the state before gives the state after.
        """
        ...

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        """Apply recorded changes.

        Args:
            changes: In order; those of one prompt come together.
            programs: Every program that the changes name, by id.
        """
        ...
