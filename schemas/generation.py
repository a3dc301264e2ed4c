"""What is kept of a generation, of a night and of a whole run: the records that cross between rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from schemas.algorithm import Change
from schemas.feedback import Feedback
from schemas.problem import Problem
from schemas.program import Judged, Program


class StopReason(StrEnum):
    """Why a night ended; closed."""

    DEADLINE = "deadline"
    BUDGET = "budget"
    TARGET = "target"
    GENERATIONS = "generations"
    SAMPLES = "samples"
    TOKENS = "tokens"
    PATIENCE = "patience"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """One attempt at a generation.

    Attributes:
        number: From 1; 0 is the start program's.
        place: When it came to its end, counted from 0 in its run: in order, unless it was retried later. `None` for an
            attempt that is tried again.
        attempt: 1 unless an earlier attempt failed.
        night: The night it belongs to.
        judged: Every candidate, in order; empty if the attempt failed.
        changes: What happened to the population, in order.
        best: The best program of the run after it.
        error: Why it failed; empty if it is to be committed.
    """

    number: int
    attempt: int
    night: int
    started_at: datetime
    ended_at: datetime
    best: Program
    judged: tuple[Judged, ...] = ()
    changes: tuple[Change, ...] = ()
    sample_s: float = 0.0
    evaluate_s: float = 0.0
    select_s: float = 0.0
    flow_run_id: str = ""
    error: str = ""
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Finalist:
    """A program of the final, with its reduced score on each split; `None` where a split has no inputs or it failed."""

    program: Program
    train: float
    validation: float | None
    held_out: float | None


class OnOtherInputs(Protocol):
    """Scores of a finalist on inputs that the search has not seen."""

    @property
    def validation(self) -> float | None: ...
    @property
    def held_out(self) -> float | None: ...


def fails_on(winner: OnOtherInputs, finalists: Sequence[OnOtherInputs]) -> tuple[str, ...]:
    """Names of the splits on which the winner of a final has no score though another has: it was run on them first."""
    given = {
        "validation": (winner.validation, [one.validation for one in finalists]),
        "held-out": (winner.held_out, [one.held_out for one in finalists]),
    }
    return tuple(name for name, (own, all_) in given.items() if own is None and any(one is not None for one in all_))


@dataclass(frozen=True, slots=True)
class NightRecord:
    """One night, as far as it is known; `ended_at` and `stop_reason` are missing while it is under way.

    Attributes:
        paused_s: Seconds that it waited for what did not answer: the engine, a provider, the disk.
        paused_by: What that was, the last time, in words.
    """

    number: int
    started_at: datetime
    best_before: float
    best_after: float
    best_program_id: str
    ended_at: datetime | None = None
    generations: int = 0
    samples: int = 0
    cost_usd: float = 0.0
    finalists: tuple[Finalist, ...] = ()
    stop_reason: StopReason | None = None
    error: str = ""
    flow_run_id: str = ""
    paused_s: float = 0.0
    paused_by: str = ""

    @property
    def winner_fails_on(self) -> tuple[str, ...]:
        """Names of the splits that the winner of its final was run on and has no score on."""
        winner = next((one for one in self.finalists if one.program.id == self.best_program_id), None)
        return fails_on(winner, self.finalists) if winner else ()


@dataclass(frozen=True)
class RunRecord:
    """A run as it is told by its files.

    Attributes:
        seed: Everything random comes from it.
        specification_path: Name or relative path of the problem, as it is told anywhere; absolute in runs of 0.1.
        image_id: Of the sandbox image it was begun with.
        versions: Of Overnight, Python and the libraries that matter.
        rescored_from: The run whose programs, scored anew, are its generation 1; empty if its models are asked for it.
        origin: Absolute path of the problem on this machine; empty if it is built in, or the run is from elsewhere.
    """

    run_id: str
    problem: Problem
    seed: int
    started_at: datetime
    specification_path: str
    image_id: str
    versions: dict[str, str]
    rescored_from: str = ""
    origin: str = ""

    @property
    def given(self) -> int:
        """Number of the last generation that was there before the search began."""
        return 1 if self.rescored_from else 0


@dataclass(frozen=True, slots=True)
class Step:
    """A generation came to its end.

    Attributes:
        changes: Of the population; none if it failed.
        feedback: By the program they are about, where they were asked for.
    """

    generation: int
    is_committed: bool
    changes: tuple[Change, ...] = ()
    feedback: Mapping[str, Feedback] = field(default_factory=dict)


@dataclass(frozen=True)
class RunHistory:
    """What a run has behind it, enough to go on.

    Attributes:
        programs: Every scored program by id, the start program first.
        steps: How generations ended, in that order, from 1. One that failed and was retried is there twice.
        code_hashes: Of every body that was judged.
    """

    programs: dict[str, Program]
    steps: tuple[Step, ...]
    code_hashes: frozenset[str]

    @cached_property
    def generations(self) -> int:
        """Number of the last that came to its end."""
        return max((step.generation for step in self.steps), default=0)

    @cached_property
    def failed(self) -> frozenset[int]:
        """Those that were given up and not committed since."""
        committed = {step.generation for step in self.steps if step.is_committed}
        return frozenset({step.generation for step in self.steps} - committed)

    def is_open(self, generation: int) -> bool:
        """Whether it failed or is to come."""
        return generation > self.generations or generation in self.failed

    @property
    def start(self) -> Program:
        return next(iter(self.programs.values()))
