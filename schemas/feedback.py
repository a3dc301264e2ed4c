"""Feedback on a child that failed or scored lower, for the next prompt that shows its parent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schemas.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Feedback:
    """Result of a child, as feedback for its parent's next prompt.

    Attributes:
        parent_id: Id of the best program that the child's prompt showed.
        body: Body of the child.
        outcome: Outcome of the child.
        error: Reason why it has no score; empty if it has one.
        output: Output that it printed, capped and cleaned.
        scores: One for each input; fewer or none if it has no score.
        score: Scores of all inputs, reduced to one; `None` if it has none.
        program_id: Id of the child.
        idea: The model's own words for what it changed; empty if there are none.
        failed_id: Id of the failed program that it was to repair; empty if there was none.
    """

    parent_id: str
    body: str
    outcome: Outcome
    error: str
    output: str
    scores: tuple[float, ...]
    score: float | None
    program_id: str = ""
    idea: str = ""
    failed_id: str = ""

    def __deepcopy__(self, memo: object) -> Feedback:
        """Return the feedback itself, which cannot change."""
        return self


def latest_feedback(feedback: Iterable[Feedback], score_of: Callable[[str], float | None]) -> dict[str, Feedback]:
    """Return, for each parent, the last child that failed or scored lower.

    Args:
        feedback: Feedback on all children, in the order of the generation.
        score_of: Function that returns the score of a parent by its id; `None` if it is unknown.
    """
    return {
        child.parent_id: child
        for child in feedback
        if child.body and child.outcome.facts.is_informative and _is_worse(child, score_of(child.parent_id))
    }


def _is_worse(feedback: Feedback, parent_score: float | None) -> bool:
    return feedback.score is None or (parent_score is not None and feedback.score < parent_score)
