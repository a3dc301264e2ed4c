"""Values that a replay takes from the record: verdicts that time decided, and texts that differ with the moment.

How long a program takes differs from run to run, so that one near its limit is timed out one time and not the other.
The record's verdict counts then, and the replay goes on with the same history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from overnight.schemas.generation import Finalist
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Split
from overnight.schemas.program import Candidate, Judged, Program
from overnight.schemas.settings import Settings
from overnight.tasks.evaluate.confirmation import ConfirmationRules, is_decided_by_time
from overnight.tasks.history.differences import without_moments
from overnight.tasks.history.rows import Row, metrics_of, notes_of


@dataclass(frozen=True, kw_only=True)
class RecordedVerdicts(ConfirmationRules):
    """The verdicts of one generation that is repeated, and the rules of its confirmations.

    Attributes:
        rows: Recorded candidates, by index.
        taken: Indices of candidates that have a verdict of the record, since time decided it, or decides it now.
    """

    rows: Mapping[int, Row]
    taken: set[int] = field(default_factory=set)

    @classmethod
    def of_rows(cls, settings: Settings, rows: Sequence[Row]) -> RecordedVerdicts:
        """Return the verdicts of a generation's rows."""
        return cls(
            which=settings.confirmations,
            reducer=settings.reducer,
            noise=settings.noise,
            objectives=settings.objectives,
            rows={row["index"]: row for row in rows},
        )

    def evaluated(self, pairs: Sequence[tuple[Candidate, Verdict]]) -> list[tuple[Candidate, Verdict]]:
        """Return candidates with the verdicts that count, from those of their evaluation now."""
        return [(candidate, self._of_evaluation(candidate, verdict)) for candidate, verdict in pairs]

    def settled(self, claim: Judged, again: Verdict) -> Judged:
        """Return a candidate after its confirmation; see `ConfirmationRules.settled`."""
        now, row = super().settled(claim, again), self.rows.get(claim.candidate.index)
        if row is None or not _was_confirmed(row):
            return now
        then = recorded_verdict(row, now.verdict)
        by_time = is_decided_by_time(now.verdict) or is_decided_by_time(then)
        settled = replace(now, verdict=self._counted(claim.candidate.index, now.verdict, then, by_time=by_time))
        return replace(self.completed(settled), score=row["score"]) if settled.verdict is then else settled

    def completed(self, judged: Judged) -> Judged:
        """Return a candidate whose verdict may be of the record with what else is there of its confirmation."""
        index = judged.candidate.index
        if index not in self.taken:
            return judged
        row = self.rows[index]
        confirmed = {name: value for name, value in row["confirmed_metrics"] or () if value is not None}
        return replace(
            judged, confirmed_score=row["confirmed_score"], metrics=metrics_of(row), confirmed_metrics=confirmed
        )

    def _of_evaluation(self, candidate: Candidate, now: Verdict) -> Verdict:
        row = self.rows.get(candidate.index)
        if row is None or candidate.verdict is not None or row["outcome"] == Outcome.DUPLICATE:
            return now  # its text decides, or the verdict on the program that it repeats
        then = recorded_verdict(row, now)
        if claimed := row["claimed_scores"]:
            then = replace(then, outcome=Outcome.SCORED, scores=tuple(claimed), error="")
        by_time = bool({now.outcome, then.outcome} & {Outcome.TIMED_OUT, Outcome.SANDBOX_ERROR})
        return self._counted(candidate.index, now, then, by_time=by_time)

    def _counted(self, index: int, now: Verdict, then: Verdict, *, by_time: bool) -> Verdict:
        now = with_recorded_texts(now, then)
        if not by_time or now == then:
            return now
        self.taken.add(index)
        return then


_NEAR = 0.5
"""Share of a limit of seconds from which on a program may have been over it on another day."""


@dataclass(frozen=True)
class RecordedFinalists:
    """The scores of one final evaluation that is repeated. The record does not have why a program has none.

    Attributes:
        finalists: Recorded programs, by id.
        limits: Limits of one evaluation.
        taken: Ids of programs that have a score of the record, or none as there, since time decided it.
    """

    finalists: Mapping[str, Finalist]
    limits: Limits
    taken: set[str] = field(default_factory=set)

    def score(self, split: Split, program: Program, now: Verdict, score: float | None) -> float | None:
        """Return the score that counts of a program, from the verdict on it now and the score that follows from it."""
        if (finalist := self.finalists.get(program.id)) is None:
            return score
        then = finalist.validation if split == "validation" else finalist.held_out
        by_time = self._is_near_a_limit(now) if then is None else is_decided_by_time(now)
        if (then is None) == (score is None) or not by_time:
            return score
        self.taken.add(program.id)
        return then

    def _is_near_a_limit(self, now: Verdict) -> bool:
        of_processor = self.limits.cpu_s or self.limits.wall_s * max(1, len(now.input_wall_s))
        longest = max(now.input_wall_s, default=0.0)
        return longest >= _NEAR * self.limits.wall_s or now.cpu_s >= _NEAR * of_processor


def recorded_verdict(row: Row, now: Verdict) -> Verdict:
    """Return the verdict of a recorded candidate, with the seconds and the memory of one that was given now."""
    scores = row["scores"] or []
    return replace(
        now,
        outcome=Outcome(row["outcome"]),
        scores=tuple(score for score in scores if score is not None),
        skipped=sum(score is None for score in scores),
        error=row["error"],
        output=row["output"],
        metrics={name: tuple(values) for name, values in row["metrics_by_input"] or ()},
        notes=notes_of(row),
        calls=tuple(row["calls"] or ()),
    )


def with_recorded_texts(now: Verdict, then: Verdict) -> Verdict:
    """Return a verdict with those texts of the record that say the same as its own, apart from their moments.

    Calls that were counted are of the record, too: a start program's are counted when it is confirmed.
    """
    if len(now.notes) == len(then.notes):
        notes = tuple(_recorded(*pair) for pair in zip(now.notes, then.notes, strict=True))
        now = replace(now, notes=notes)
    texts = {"error": _recorded(now.error, then.error), "output": _recorded(now.output, then.output)}
    return replace(now, **texts, calls=then.calls)


def _recorded(now: str, then: str) -> str:
    return then if without_moments(now) == without_moments(then) else now


def _was_confirmed(row: Row) -> bool:
    return row["confirmed_score"] is not None or row["outcome"] in (Outcome.UNCONFIRMED, Outcome.SANDBOX_ERROR)
