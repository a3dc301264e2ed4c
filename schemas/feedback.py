"""What can be learnt from a try that failed or fell short, for the next prompt that shows the version it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schemas.outcome import Outcome

_TELLING = frozenset(
    {
        Outcome.SCORED,
        Outcome.REJECTED,
        Outcome.CRASHED,
        Outcome.TIMED_OUT,
        Outcome.OUT_OF_MEMORY,
        Outcome.OUTPUT_LIMIT,
        Outcome.BAD_SCORE,
        Outcome.UNCONFIRMED,
    }
)
"""Outcomes that say something about a body."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """A child of a program.

    Attributes:
        parent_id: The best program that its prompt showed.
        body: Of the child.
        error: Why it has no score; empty if it has one.
        output: What it printed, capped and cleaned.
        scores: One for each input; fewer or none where it has no score.
        score: The scores reduced to one, if there is one.
    """

    parent_id: str
    body: str
    outcome: Outcome
    error: str
    output: str
    scores: tuple[float, ...]
    score: float | None


def latest_feedback(feedback: Iterable[Feedback], score_of: Callable[[str], float | None]) -> dict[str, Feedback]:
    """For each parent the last child that failed or scored below it.

    Args:
        feedback: In the order of the generation.
        score_of: The score of a parent by its id; `None` where it is not known.
    """
    return {
        feedback.parent_id: feedback
        for feedback in feedback
        if feedback.body and feedback.outcome in _TELLING and _falls_short(feedback, score_of(feedback.parent_id))
    }


def _falls_short(feedback: Feedback, parent_score: float | None) -> bool:
    return feedback.score is None or (parent_score is not None and feedback.score < parent_score)
