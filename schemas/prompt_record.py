"""Record of a prompt: how it was asked, and its judged answers. Later prompts are planned from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.feedback import Feedback


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """Operator and model of a prompt, and its judged answers.

    Attributes:
        niche: Niche of the programs shown.
        operator: Its operator; empty if it had none.
        model: Model that the prompt was for, whether it or one of its fallbacks answered.
        answers: Its judged answers, in order.
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
