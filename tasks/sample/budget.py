"""What a night may spend, what it has spent, and what is spoken for by requests in flight.

LiteLLM's own `max_budget` is not enforced. A request is begun only where its estimate fits beside what is in flight;
the last one may cost more than was left, so that a budget is overshot by one request at most, as far as estimates hold.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from schemas.program import Completion


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """Limits; `None` means as much as it takes.

    Attributes:
        night_usd: USD for this night.
        total_usd: USD for the run, all its nights together.
        tokens: In and out, for this night.
    """

    night_usd: float | None = None
    total_usd: float | None = None
    tokens: int | None = None

    @property
    def is_in_usd(self) -> bool:
        return self.night_usd is not None or self.total_usd is not None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a request is expected to take."""

    usd: float
    tokens: int


class Budget:
    """The books of one night.

    Attributes:
        before_usd: Spent on the run before this night, as its files say.
        night_usd: Spent in this night.
        tokens: Bought in this night, in and out.
        is_in_part_unpriced: Whether something was bought in this night whose price nobody knows; it counts as nothing.
        budget: What may be spent.
        is_exhausted: Whether what is left does not cover what would be bought next.
    """

    def __init__(self, before_usd: float = 0.0) -> None:
        self.before_usd = before_usd
        self.night_usd = 0.0
        self.tokens = 0
        self.is_in_part_unpriced = False
        self.limits = BudgetLimits()
        self.is_exhausted = False
        self._reserved: list[Estimate] = []
        self._settled = asyncio.Condition()

    @property
    def total_usd(self) -> float:
        return self.before_usd + self.night_usd

    def bought(self, completions: Sequence[Completion]) -> None:
        """Enters what was paid for; called from one thread."""
        self.night_usd += sum(completion.cost_usd or 0.0 for completion in completions)
        self.is_in_part_unpriced |= any(completion.cost_usd is None for completion in completions)
        self.tokens += sum(completion.tokens_in + completion.tokens_out for completion in completions)

    def is_spent(self) -> bool:
        """Whether a limit is reached."""
        return any(spent >= limit for limit, spent, _ in self._accounts(Estimate(0.0, 0)))

    @contextlib.asynccontextmanager
    async def reserved(self, estimate: Estimate) -> AsyncIterator[bool]:
        """Sets an estimate aside until the block ends, waiting for its turn where what is in flight may take the rest.

        Yields:
            False where the budget is spent; nothing may be bought then.
        """
        async with self._settled:
            await self._settled.wait_for(lambda: self.is_spent() or not self._reserved or self._fits(estimate))
            if is_spent := self.is_spent():
                self._settled.notify_all()
            else:
                self._reserved.append(estimate)
        try:
            yield not is_spent
        finally:
            if not is_spent:
                self._reserved.remove(estimate)
                async with self._settled:
                    self._settled.notify_all()

    def has_room(self, estimate: Estimate) -> bool:
        """Whether it fits beside what is spent and spoken for."""
        return not self.is_spent() and self._fits(estimate)

    @contextlib.contextmanager
    def set_aside(self, estimate: Estimate) -> Iterator[None]:
        """Sets aside until the block ends, whether it fits or not, what is bought already and not paid for."""
        self._reserved.append(estimate)
        try:
            yield
        finally:
            self._reserved.remove(estimate)

    def _fits(self, estimate: Estimate) -> bool:
        return all(spent + wanted <= limit for limit, spent, wanted in self._accounts(estimate))

    def _accounts(self, estimate: Estimate) -> list[tuple[float, float, float]]:
        """Each limit with what is spent of it, and what is spoken for together with an estimate."""
        usd = estimate.usd + sum(one.usd for one in self._reserved)
        tokens = estimate.tokens + sum(one.tokens for one in self._reserved)
        accounts = (
            (self.limits.night_usd, self.night_usd, usd),
            (self.limits.total_usd, self.total_usd, usd),
            (self.limits.tokens, self.tokens, tokens),
        )
        return [(limit, spent, wanted) for limit, spent, wanted in accounts if limit is not None]
