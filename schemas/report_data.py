"""Plain data of a run's report, as collected from the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from overnight.schemas.generation import RunRecord, fails_on
from overnight.schemas.ids import program_id
from overnight.schemas.report_rows import (
    Ancestor,
    AsFound,
    Conversation,
    DiversityPoint,
    Failure,
    GenerationSummary,
    InputResult,
    MachineSummary,
    ModelSummary,
    NicheHistory,
    NightSummary,
    ObjectivePoint,
    QuestionSummary,
    Reading,
    RepeatedProposal,
    RequestSummary,
    ScorePoint,
    SplitScores,
    TimeSpent,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """The best score in a generation that is not committed: of a program that may still be refused.

    Attributes:
        sample: Its number in the generation, from 1.
        program_id: The id that the program has once it is committed.
    """

    score: float
    generation: int
    sample: int
    program_id: str


@dataclass(frozen=True, slots=True)
class UnderWay:
    """State of a run beyond its committed generations.

    Attributes:
        samples: Samples that are answered.
        scored: Number of those that have a score.
        claim: The best of them, if it is above the best program's.
        is_left_out: Whether nothing is left to search for, so that they are never committed.
    """

    samples: int = 0
    scored: int = 0
    claim: Claim | None = None
    is_left_out: bool = False


@dataclass(frozen=True, slots=True)
class ReportData:
    """All data of one run's report.

    Attributes:
        start: The start program's scores, or those of the first program with a score if there is none; in a report of
            one night, the scores of the best program before it.
        best: The best program's scores: the winner of the last final evaluation, unless a better one came later.
        objective_points: The programs of the front and an even choice of the others; empty if the score alone counts.
        as_found: The best program before it was pruned; `None` if it was not.
        refused: Id of what pruning left of the best program, and how it is worse on the held-out inputs; else empty.
        best_inputs: Its results on the training inputs, if the scoring says anything beside the score.
        generations: The committed generations in order, including the one before the first that is covered.
        new_bests: The start, then each sample that was better than all before it, with its own number and score.
        points: The scored candidates, or an even choice of them with all new bests.
        points_left_out: Number of scored candidates that are not among `points`.
        functions: Evolved functions by program id, of as many of `points` as a page has room for, the best first.
        readings: Words of models on its best programs, in order.
        conversations: Work of agents for programs of the lineage, by program id.
        machines: The machines that evaluated, if one of them is a machine of a cluster; else empty.
        log: Last lines of the log of a night that is under way; else empty.
        under_way: State beyond them.
    """

    run: RunRecord
    night: int | None
    nights: tuple[NightSummary, ...]
    start: SplitScores
    best: SplitScores
    best_function: str
    best_specification: str
    as_found: AsFound | None
    refused: str
    best_inputs: tuple[InputResult, ...]
    objective_points: tuple[ObjectivePoint, ...]
    generations: tuple[GenerationSummary, ...]
    new_bests: tuple[GenerationSummary, ...]
    points: tuple[ScorePoint, ...]
    points_left_out: int
    functions: dict[str, str]
    diversity: tuple[DiversityPoint, ...]
    niches: tuple[NicheHistory, ...]
    lineage: tuple[Ancestor, ...]
    models: tuple[ModelSummary, ...]
    requests: tuple[RequestSummary, ...]
    questions: tuple[QuestionSummary, ...]
    readings: tuple[Reading, ...]
    conversations: dict[str, Conversation]
    machines: tuple[MachineSummary, ...]
    log: tuple[str, ...]
    under_way: UnderWay
    failures: tuple[Failure, ...]
    repeats: tuple[RepeatedProposal, ...]
    failed_attempts: tuple[str, ...]
    time_spent: TimeSpent
    command: str
    built_at: datetime
    cost_usd: float
    has_unknown_costs: bool

    @property
    def best_fails_on(self) -> tuple[str, ...]:
        """Names of the splits on which the best program got no score in its final evaluation."""
        won = [night for night in self.nights if night.finalists and night.best_program_id == self.best.program_id]
        return fails_on(self.best, won[-1].finalists) if won else ()

    @property
    def start_name(self) -> str:
        """Name of what the best program is compared with: the start program, where there is one."""
        if self.night:
            return "best of the nights before"
        is_given = self.start.program_id == program_id(self.run.run_id, 0, 0)
        return "start program" if is_given else "first program with a score"

    @property
    def samples_since_gain(self) -> int:
        """Samples since the one that raised the best score last by as much as is seen; all samples, if none did."""
        last = self.generations[-1]
        shown = f"{last.best:.{self.digits}g}"
        seen = (one.samples for one in self.new_bests if f"{one.best:.{self.digits}g}" == shown)
        return last.samples - next(seen, self.new_bests[-1].samples)

    @property
    def digits(self) -> int:
        """Significant digits that tell the best scores from those that are known."""
        best, now = self.best, self.generations[-1].best
        return self.run.problem.settings.known.digits_beside(now, best.train, best.validation, best.held_out)

    @property
    def is_under_way(self) -> bool:
        return bool(self.nights) and self.nights[-1].ended_at is None


@dataclass(frozen=True)
class Drawings:
    """Sanitised SVG pictures of programs by id, as far as they could be drawn, and why some or all are missing."""

    pictures: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""


NO_DRAWINGS = Drawings()
