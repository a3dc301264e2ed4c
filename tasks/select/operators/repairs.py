"""Which failed children are repaired: those of good bases, a share of all prompts, each at most twice in a row."""

from __future__ import annotations

from collections import deque
from random import Random

from schemas.feedback import Feedback, PromptRecord
from schemas.operators import Operator

_LONGEST_CHAIN = 2
"""Repairs of one failure in a row."""

_WINDOW = 50
"""Prompts from which the share of failures is estimated."""

_BEST = 0.25
"""Share of scores among which a base must be for its failed children to be repaired."""


class Repairs:
    """Chooses failures to repair, so that about a share of the prompts are repairs.

    Args:
        share: Largest share.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._chains: dict[str, int] = {}
        self._recent: deque[bool] = deque(maxlen=_WINDOW)

    def tell(self, record: PromptRecord) -> None:
        """Note which answers of a prompt failed."""
        is_repair = record.operator == Operator.REPAIR
        for answer in filter(is_repairable, record.answers):
            # All answers to a prompt repair the same failure, so its count is read for each of them.
            self._chains[answer.program_id] = self._chains.get(answer.failed_id, 0) + 1 if is_repair else 0
        self._recent.append(any(map(self._may_be_repaired, record.answers)))

    def wanted(self, record: PromptRecord, base_rank: float, rng: Random) -> Feedback | None:
        """Return the answer of a prompt that the next prompt is to repair, if any.

        Args:
            record: The prompt.
            base_rank: Share of all scores that are higher than its base's.
            rng: Source of the draw that keeps to the share.
        """
        failed = next((one for one in reversed(record.answers) if self._may_be_repaired(one)), None)
        if failed is None or base_rank > _BEST:
            return None
        failing = sum(self._recent) / len(self._recent) if self._recent else 1.0
        return failed if rng.random() * max(self._share, failing) < self._share else None

    def _may_be_repaired(self, answer: Feedback) -> bool:
        return is_repairable(answer) and self._chains.get(answer.program_id, 0) < _LONGEST_CHAIN


def is_repairable(answer: Feedback) -> bool:
    """Return whether an answer is a program that failed by itself."""
    return bool(answer.body) and answer.outcome.facts.is_repairable
