"""What is kept of a generation, of a night and of a whole run: the records that cross between rooms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.population import Change
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


@dataclass(frozen=True, slots=True)
class Finalist:
    """A program of the final, with its reduced score on each split; `None` where a split has no inputs or it failed."""

    program: Program
    train: float
    validation: float | None
    held_out: float | None


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


@dataclass(frozen=True)
class RunRecord:
    """A run as it is told by its files.

    Attributes:
        seed: Everything random comes from it.
        image_id: Of the sandbox image it was begun with.
        versions: Of Overnight, Python and the libraries that matter.
    """

    run_id: str
    problem: Problem
    seed: int
    started_at: datetime
    specification_path: str
    image_id: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Past:
    """What a run has behind it, enough to go on.

    Attributes:
        programs: Every scored program by id, the start program first.
        changes: The population's, one list for each generation from 1.
        code_hashes: Of every body that was judged.
        generations: How many are committed.
    """

    programs: dict[str, Program]
    changes: tuple[tuple[Change, ...], ...]
    code_hashes: frozenset[str]
    generations: int

    @property
    def start(self) -> Program:
        return next(iter(self.programs.values()))
