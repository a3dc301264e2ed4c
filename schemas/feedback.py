"""Records of judged answers, from which later prompts are planned: of one child, and of all answers to a prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from overnight.schemas.outcome import Outcome
from overnight.schemas.scores import are_level


@dataclass(frozen=True, slots=True)
class Feedback:
    """Result of a child, as feedback for its parent's next prompt.

    Attributes:
        parent_id: Id of the best program that the child's prompt showed.
        error: Reason why it has no score; empty if it has one.
        output: Output that it printed, capped and cleaned.
        scores: One for each input; fewer or none if it has no score.
        score: Scores of all inputs, reduced to one; `None` if it has none.
        idea: The model's own words for what it changed; empty if there are none.
        failed_id: Id of the failed program that it was to repair; empty if there was none.
        metrics: Further numbers of the scoring by name, of all inputs, reduced to one each.
        notes: Words of the scoring on each input, up to the last with a note.
        cpu_s: Processor time on all inputs together, seconds; 0 if it is unknown.
        peak_mib: Peak resident memory, MiB; 0 if it is unknown.
        input_wall_s: Wall-clock time on each input, seconds; empty if it is unknown.
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
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()
    cpu_s: float = field(default=0.0, compare=False)
    peak_mib: float = field(default=0.0, compare=False)
    input_wall_s: tuple[float, ...] = field(default=(), compare=False)

    def __deepcopy__(self, memo: object) -> Feedback:
        """Return the feedback itself, which cannot change."""
        return self


def latest_feedback(feedback: Iterable[Feedback], score_of: Callable[[str], float | None]) -> dict[str, Feedback]:
    """Return, for each parent, the last child that failed or did not score higher."""
    return {
        child.parent_id: child
        for child in feedback
        if child.body and child.outcome.facts.is_informative and _is_no_better(child, score_of(child.parent_id))
    }


def _is_no_better(feedback: Feedback, parent_score: float | None) -> bool:
    if feedback.score is None or parent_score is None:
        return feedback.score is None
    return feedback.score < parent_score or are_level(feedback.score, parent_score)


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """Operator and model of a prompt, and its judged answers.

    Attributes:
        niche: Niche of the programs shown.
        model: Model that the prompt was for, whether it or one of its fallbacks answered.
        tokens: Prompt and completion tokens of all answers.
        cost_usd: Price of all answers, USD; `None` if it is unknown.
        evaluations: Number of programs that the optimizer of numbers evaluated for the answers.
    """

    niche: str
    operator: str
    model: str
    answers: tuple[Feedback, ...]
    tokens: int = 0
    cost_usd: float | None = None
    evaluations: int = 0


def sum_of_costs(costs: Sequence[float | None]) -> float | None:
    """Return the price of all answers to a prompt, USD; `None` if that of any is unknown.

    Where one request returned several answers, the first one has the price of all, and the others cost 0.
    """
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) else None
