"""Track a night's spending against its limits, including the estimates of requests in flight, and count these.

LiteLLM's own `max_budget` is not enforced. A request starts only if its estimate fits beside the reservations of the
requests in flight. The last one may cost more than was left, so a budget is exceeded by one request at most, as far as
the estimates hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from overnight.schemas.program import Completion

SLACK = 1e-9
"""USD by which a sum of costs may miss a limit that it reaches, as sums of floats do."""

PERIODS = ("day", "week", "month")
"""Periods of the calendar for which all runs of a history may have a limit together."""


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """Limits on spending; `None` means unlimited.

    Attributes:
        night_usd: USD for this night.
        total_usd: USD for all nights of the run together.
        tokens: Input and output tokens for this night.
        period_usd: USD for the nights of all runs in the history that began in a period, by its name in `PERIODS`.
    """

    night_usd: float | None = None
    total_usd: float | None = None
    tokens: int | None = None
    period_usd: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_in_usd(self) -> bool:
        return self.night_usd is not None or self.total_usd is not None or bool(self.period_usd)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected cost and tokens of a request."""

    usd: float
    tokens: int


class Budget:
    """Limits, spending and reservations of one night.

    Attributes:
        before_usd: USD spent on the run before this night, according to its files.
        night_usd: USD spent in this night.
        tokens: Input and output tokens of this night's completions.
        tokens_cached: Input tokens among them that providers read from their caches.
        has_unknown_costs: Whether a completion of this night has no known price; such a completion counts as 0 USD.
        limits: The limits on spending.
        others_usd: USD that other nights of the history spent in each period that has a limit.
        is_exhausted: Whether the rest of the budget does not cover the next request.
    """

    def __init__(self, before_usd: float = 0.0) -> None:
        self.before_usd = before_usd
        self.night_usd = 0.0
        self.tokens = 0
        self.tokens_cached = 0
        self.has_unknown_costs = False
        self.limits = BudgetLimits()
        self.others_usd: Mapping[str, float] = {}
        self.is_exhausted = False
        self._reservations: list[Estimate] = []
        self._reservation_ended = asyncio.Condition()

    @property
    def total_usd(self) -> float:
        return self.before_usd + self.night_usd

    @property
    def period_usd(self) -> dict[str, float]:
        """USD that all nights of the history have spent in each period that has a limit, with this one."""
        return {period: self.others_usd.get(period, 0.0) + self.night_usd for period in self.limits.period_usd}

    def record(self, completions: Sequence[Completion]) -> None:
        """Add the cost and tokens of paid completions; call it from one thread only."""
        self.night_usd += sum(completion.cost_usd or 0.0 for completion in completions)
        self.has_unknown_costs |= any(completion.cost_usd is None for completion in completions)
        self.tokens += sum(completion.tokens_in + completion.tokens_out for completion in completions)
        self.tokens_cached += sum(completion.tokens_cached for completion in completions)

    def is_spent(self) -> bool:
        """Return whether a limit is reached."""
        return any(spent >= limit - SLACK for limit, spent, _ in self._limited_spending(Estimate(0.0, 0)))

    @contextlib.asynccontextmanager
    async def reserve(self, estimate: Estimate) -> AsyncIterator[bool]:
        """Reserve an estimate until the block ends; wait while the requests in flight may use up what is left.

        Yields:
            False if the budget is spent; no request may be sent then.
        """
        async with self._reservation_ended:
            await self._reservation_ended.wait_for(
                lambda: self.is_spent() or not self._reservations or self._fits(estimate)
            )
            if is_spent := self.is_spent():
                self._reservation_ended.notify_all()
            else:
                self._reservations.append(estimate)
        try:
            yield not is_spent
        finally:
            if not is_spent:
                await self._end(estimate)

    def has_room(self, estimate: Estimate) -> bool:
        """Return whether the estimate fits beside spending and reservations."""
        return not self.is_spent() and self._fits(estimate)

    @contextlib.asynccontextmanager
    async def reserve_unconditionally(self, estimate: Estimate) -> AsyncIterator[None]:
        """Reserve an estimate until the block ends, even if it does not fit: its request is already sent."""
        self._reservations.append(estimate)
        try:
            yield
        finally:
            await self._end(estimate)

    async def _end(self, estimate: Estimate) -> None:
        """End a reservation; requests that wait for it look again whether they fit."""
        self._reservations.remove(estimate)
        async with self._reservation_ended:
            self._reservation_ended.notify_all()

    def _fits(self, estimate: Estimate) -> bool:
        return all(spent + reserved <= limit + SLACK for limit, spent, reserved in self._limited_spending(estimate))

    def _limited_spending(self, estimate: Estimate) -> list[tuple[float, float, float]]:
        """Return each limit with its spending, and its reservations together with the estimate."""
        usd = estimate.usd + sum(reservation.usd for reservation in self._reservations)
        tokens = estimate.tokens + sum(reservation.tokens for reservation in self._reservations)
        rows = (
            (self.limits.night_usd, self.night_usd, usd),
            (self.limits.total_usd, self.total_usd, usd),
            (self.limits.tokens, self.tokens, tokens),
            *((self.limits.period_usd[period], spent, usd) for period, spent in self.period_usd.items()),
        )
        return [(limit, spent, reserved) for limit, spent, reserved in rows if limit is not None]


class RequestsInFlight:
    """Counts requests from when they are sent until they are answered or fail, from any thread."""

    def __init__(self) -> None:
        self._sent: dict[int, tuple[float, str]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def waiting(self, model: str = "") -> Iterator[None]:
        """Count a request to a model as in flight while the block lasts."""
        with self._lock:
            number = next(self._numbers)
            self._sent[number] = time.monotonic(), model
        try:
            yield
        finally:
            with self._lock:
                del self._sent[number]

    def count(self) -> int:
        """Return how many requests are in flight."""
        return len(self._sent)

    def by_model(self) -> Counter[str]:
        """Return how many requests to each model are in flight, without a lock: a handler of signals asks."""
        return Counter(model for _, model in list(self._sent.values()))

    def oldest_s(self) -> float:
        """Return for how many seconds the oldest of them has been in flight; 0 if there is none."""
        with self._lock:
            return time.monotonic() - next(iter(self._sent.values()))[0] if self._sent else 0.0
