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
class Lesson:
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


def latest(lessons: Iterable[Lesson], score_of: Callable[[str], float | None]) -> dict[str, Lesson]:
    """For each parent the last child that failed or scored below it.

    Args:
        lessons: In the order of the generation.
        score_of: The score of a parent by its id; `None` where it is not known.
    """
    return {
        lesson.parent_id: lesson
        for lesson in lessons
        if lesson.body and lesson.outcome in _TELLING and _falls_short(lesson, score_of(lesson.parent_id))
    }


def _falls_short(lesson: Lesson, parent_score: float | None) -> bool:
    return lesson.score is None or (parent_score is not None and lesson.score < parent_score)
