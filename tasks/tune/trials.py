"""Count the evaluations of one tuning, remember their scores, and spare those of variants that fall behind early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Evaluate = Callable[[Sequence[str]], Sequence[float | None]]
"""Returns the score of each body, higher is better; `None` where it failed."""

_RACED_FROM = 4
"""Smallest number of variants that race."""


class OutOfTime(Exception):
    """The time for this tuning is over."""


class NotJudged(Exception):
    """The sandbox could not evaluate a program, which says nothing of it."""


@dataclass(frozen=True)
class Evaluations:
    """The ways to evaluate bodies; each may raise OutOfTime, and the last one NotJudged.

    Attributes:
        train: On all training inputs.
        first: On the first training input; `None` if that would save nothing.
        validation: On the validation inputs; `None` without any.
    """

    train: Evaluate
    first: Evaluate | None = None
    validation: Evaluate | None = None


@dataclass
class Trials:
    """The evaluations of one tuning.

    Attributes:
        is_late: Returns whether no new search may begin, since what is found has yet to be written.
        used: Number of evaluations so far; a body counts once, on whatever inputs.
    """

    evaluations: Evaluations
    limit: int
    is_late: Callable[[], bool] = lambda: False
    used: int = 0
    _known: dict[str, float | None] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)

    def score(self, bodies: Sequence[str]) -> list[float | None]:
        """Return the scores of bodies on all training inputs; those beyond the limit fail."""
        self._evaluate(self._new(bodies))
        return [self._known.get(body) for body in bodies]

    def race(self, bodies: Sequence[str], best: float) -> list[float | None]:
        """Return the scores of bodies, of which the worse half may be estimates that only say their order.

        All are evaluated on the first input. Those that are in the worse half there, and behind the best program too,
        are not evaluated on the others; they rank behind all that are.
        """
        new, first = self._new(bodies), self.evaluations.first
        if first is None or len(new) < _RACED_FROM:
            return self.score(bodies)
        claims = dict(zip(new, first(new), strict=True))
        ahead = sorted(new, key=lambda body: rank(claims[body]), reverse=True)[: (len(new) + 1) // 2]
        # A failure on the first input is one on all.
        stopped = [body for body in new if body not in ahead and claims[body] is not None]
        self._known |= {body: None for body in new if claims[body] is None}
        self._evaluate([body for body in ahead if claims[body] is not None])
        self.used += sum(body not in ahead or claims[body] is None for body in new)
        return self._with_estimates(bodies, stopped, claims, best)

    def _with_estimates(
        self, bodies: Sequence[str], stopped: Sequence[str], claims: dict[str, float | None], best: float
    ) -> list[float | None]:
        scores = [self._known.get(body) for body in bodies]
        bar = min([best, *(score for score in scores if score is not None)])
        step = max(abs(bar), 1.0) * 1e-9
        order = sorted(stopped, key=lambda body: rank(claims[body]), reverse=True)
        estimates = {body: bar - step * place for place, body in enumerate(order, start=1)}
        return [estimates.get(body, score) for body, score in zip(bodies, scores, strict=True)]

    def validation_scores(self, bodies: Sequence[str]) -> list[float | None] | None:
        """Return the scores of bodies on the validation inputs; `None` without any."""
        if self.evaluations.validation is None:
            return None
        self.used += len(bodies)
        return list(self.evaluations.validation(bodies))

    def _new(self, bodies: Sequence[str]) -> list[str]:
        return [body for body in dict.fromkeys(bodies) if body not in self._known][: self.left]

    def _evaluate(self, bodies: Sequence[str]) -> None:
        if bodies:
            self._known |= dict(zip(bodies, self.evaluations.train(bodies), strict=True))
            self.used += len(bodies)


def rank(score: float | None) -> float:
    """Return a number that orders scores, failures behind all others."""
    return float("-inf") if score is None else score
