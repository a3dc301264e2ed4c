"""The story of a run: what a report tells, gathered from the history, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schemas.generation import RunRecord, fails_on


@dataclass(frozen=True, slots=True)
class Improvement:
    """A committed generation.

    Attributes:
        samples: Samples of the run up to here.
        seconds: Seconds that nights were under way up to here; the days between them do not count.
        cost_usd: USD of the run up to here; unknown prices count as nothing.
        best: Best score of the run after it.
        own_best: Best score among its own candidates; `None` if none is scored.
        reset: Islands that were emptied at its end.
    """

    generation: int
    night: int
    samples: int
    seconds: float
    cost_usd: float
    best: float
    best_program_id: str
    own_best: float | None
    reset: tuple[int, ...]
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class SplitScores:
    """A program's score on each split; `None` where it was not tried."""

    program_id: str
    train: float | None
    validation: float | None = None
    held_out: float | None = None


@dataclass(frozen=True, slots=True)
class NightSummary:
    """A night; `ended_at` and `stop_reason` are missing while it is under way or if it was killed."""

    night: int
    started_at: datetime
    ended_at: datetime | None
    generations: int
    samples: int
    cost_usd: float
    best_before: float
    best_after: float
    best_program_id: str
    stop_reason: str
    error: str
    finalists: tuple[SplitScores, ...]


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """A scored candidate: the how-manieth sample of the run it was, and its score."""

    sample: int
    score: float


@dataclass(frozen=True, slots=True)
class IslandHistory:
    """An island over time.

    Attributes:
        steps: Samples of the run, and the island's best score from there on; falls only at a reset.
        resets: Samples of the run at which it was emptied.
        programs: Programs alive on it now.
        clusters: Clusters they form.
        best_program_id: Its best program now; the first of equals.
    """

    island: int
    steps: tuple[tuple[int, float], ...]
    resets: tuple[int, ...]
    programs: int
    clusters: int
    best_program_id: str


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A program that the best descends from, or the best itself.

    Attributes:
        function: The evolved function with its body, as text.
        mother_id: The parent whose function is nearest to its own; empty for the start program.
    """

    program_id: str
    generation: int
    sample: int
    island: int
    model: str
    score: float
    parent_ids: tuple[str, ...]
    function: str
    mother_id: str = ""


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What a model gave and cost.

    Attributes:
        outcomes: How many candidates of each outcome.
        cost_usd: `None` where no price is known.
        improvements: How often a candidate of its became the best of the run.
        latency_s: Median seconds from request to answer.
    """

    model: str
    samples: int
    outcomes: dict[str, int]
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    best: float | None
    improvements: int
    latency_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Candidates that failed alike, with one of them.

    Attributes:
        kind: The error without line, input and numbers.
        candidates: How many in the nights told of.
        last_night: How many of them in the last of these.
    """

    outcome: str
    kind: str
    candidates: int
    last_night: int
    program_id: str
    error: str
    function: str


@dataclass(frozen=True, slots=True)
class RepeatedProposal:
    """A program that models proposed again and again, though it was judged already."""

    program_id: str
    times: int
    score: float | None
    outcome: str
    function: str


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """Where the time went, in seconds of wall clock but for `cpu_s` and `candidates_s`.

    Attributes:
        nights_s: Nights from start to end.
        sample_s: From the first request of a generation to its last answer, summed; overlaps evaluation.
        evaluate_s: From the first evaluation to the last verdict, summed.
        select_s: Registering and writing.
        candidates_s: What candidates had in the sandbox, all slots together.
        cpu_s: Processor time of candidates.
    """

    nights_s: float
    generations_s: float
    sample_s: float
    evaluate_s: float
    select_s: float
    candidates_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report of one run tells.

    Attributes:
        night: The one night it is told of; `None` for all.
        start: The start program's scores, or before the one night those of the best so far.
        best: The best program's scores: the winner of the last final unless a better one came after it.
        moments: Committed generations in order, the one before the first told of included.
        is_under_way: Whether the last night has not ended, as far as the files say.
    """

    run: RunRecord
    night: int | None
    nights: tuple[NightSummary, ...]
    start: SplitScores
    best: SplitScores
    best_function: str
    best_program: str
    moments: tuple[Improvement, ...]
    dots: tuple[ScorePoint, ...]
    islands: tuple[IslandHistory, ...]
    lineage: tuple[Ancestor, ...]
    models: tuple[ModelSummary, ...]
    failures: tuple[Failure, ...]
    repeats: tuple[RepeatedProposal, ...]
    failed_attempts: tuple[str, ...]
    seconds: TimeSpent
    command: str
    told_at: datetime

    @property
    def best_fails_on(self) -> tuple[str, ...]:
        """Names of the splits that the best program was run on in its final and has no score on."""
        won = [night for night in self.nights if night.finalists and night.best_program_id == self.best.program_id]
        return fails_on(self.best, won[-1].finalists) if won else ()

    @property
    def is_under_way(self) -> bool:
        return bool(self.nights) and self.nights[-1].ended_at is None


@dataclass(frozen=True, slots=True)
class RunCurve:
    """A run beside others.

    Attributes:
        group: What sets it apart from those it is compared with, in words; runs of one group differ by seed.
        steps: Samples, and the best score from there on.
    """

    run_id: str
    problem: str
    group: str
    seed: int
    started_at: datetime
    samples: int
    seconds: float
    cost_usd: float
    start: float
    steps: tuple[tuple[int, float], ...]
    best: SplitScores
    stop_reason: str
