"""The line to one model: whether it answers, how fast it may be asked, what an answer is likely to take."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator

from schemas.errors import ProviderError, ProviderOutage, TerminalProviderError, TransientProviderError
from schemas.settings import Model
from tasks.sample.budget import Estimate
from tasks.sample.provider import Answer, price_of

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
_FIRST_REST_S = 5.0
_LONGEST_REST_S = 300.0
_LIKELY_TOKENS = 4096
_MEMORY = 0.1
"""Share of the newest answer in the estimate of the next."""


class Endpoint:
    """Used in the gateway's event loop only. Times are of `time.monotonic()`.

    Until the model has answered once, and after an outage, it is asked one thing at a time: so a wrong key or a dead
    server costs one request, not one for each in flight.

    Args:
        model: At the other end.
        attempts: Requests for one thing before it is given up.
        max_tokens: Longest completion; `None` if the provider decides.
    """

    def __init__(self, model: Model, *, attempts: int, max_tokens: int | None) -> None:
        self.model = model
        self._attempts = attempts
        self._tokens_out = float(max_tokens or _LIKELY_TOKENS)
        self._has_learned = False
        self._alone = asyncio.Lock()
        self._answers = False
        self._answered_at = -math.inf
        self._failure: ProviderError | None = None
        self._failed_at = -math.inf
        self._rest_s = 0.0
        self._free_at = 0.0

    def estimate(self, tokens_in: int, samples: int) -> Estimate:
        """What a request is likely to take, by what answers took so far."""
        tokens_out = round(self._tokens_out * samples)
        price = price_of(self.model)
        return Estimate(price.of(tokens_in, tokens_out) if price else 0.0, tokens_in + tokens_out)

    def is_resting(self) -> bool:
        """Whether it failed lately, so that a fallback is asked at once."""
        return self._is_closed() or time.monotonic() < self._failed_at + self._rest_s

    @property
    def has_answered(self) -> bool:
        return self._answered_at > -math.inf

    @contextlib.asynccontextmanager
    async def turn(self, began: float) -> AsyncIterator[None]:
        """Waits until the line is open.

        Raises:
            ProviderError: If it turned out meanwhile that it does not answer.
        """
        if self._answers:
            self.require_open(began)
            yield
            return
        async with self._alone:
            self.require_open(began)
            if not self._answers:
                yield
                return
        yield

    def require_open(self, began: float) -> None:
        """For a request that began at that time.

        Raises:
            ProviderError: If the line is closed for good, or has failed since.
        """
        if self._failure is not None and (self._is_closed() or self._failed_at > began):
            raise self._failure

    async def pace(self, estimate: Estimate) -> None:
        """Waits for a turn within the requests and tokens a minute, and as long as the provider asked to."""
        now = time.monotonic()
        begin = max(now, self._free_at)
        spacing = [60 / self.model.rpm] if self.model.rpm else []
        spacing += [60 * estimate.tokens / self.model.tpm] if self.model.tpm else []
        self._free_at = begin + max(spacing, default=0.0)
        await asyncio.sleep(begin - now)

    def answered(self, answer: Answer, estimate: Estimate, samples: int) -> None:
        """Notes an answer, and gives back or takes what the estimate was wrong by."""
        self._answers, self._answered_at, self._rest_s, self._failure = True, time.monotonic(), 0.0, None
        tokens_out = answer.usage.tokens_out / samples
        weight = _MEMORY if self._has_learned else 1.0
        self._tokens_out += weight * (tokens_out - self._tokens_out)
        self._has_learned = True
        if self.model.tpm:
            wrong = answer.usage.tokens_in + answer.usage.tokens_out - estimate.tokens
            self._free_at += 60 * wrong / self.model.tpm

    def hold(self, error: TransientProviderError) -> None:
        """Nothing is asked before the time that the provider named."""
        if error.retry_after_s is not None:
            self._free_at = max(self._free_at, time.monotonic() + min(error.retry_after_s, _LONGEST_REST_S))

    def close(self, error: TerminalProviderError) -> TerminalProviderError:
        """Asking again cannot help: nothing more is asked on this line."""
        self._failure, self._failed_at, self._answers = error, time.monotonic(), False
        return error

    def give_up(self, error: TransientProviderError, began: float) -> TransientProviderError:
        """What is raised when every attempt failed: an outage, unless something else was answered meanwhile."""
        times = f"{self._attempts} attempt{'s' * (self._attempts > 1)} failed"
        said = f"{self.model.name}: {times}, the last with: {error.message.removeprefix(f'{self.model.name}: ')}"
        remedy = "Nothing is lost; `overnight resume` goes on when the provider answers again."
        if self._answered_at > began:
            return TransientProviderError(said, remedy=remedy)
        self._failure = ProviderOutage(said, remedy=remedy)
        self._failed_at, self._answers = time.monotonic(), False
        self._rest_s = min(max(_FIRST_REST_S, self._rest_s * 2), _LONGEST_REST_S)
        return self._failure

    def _is_closed(self) -> bool:
        return isinstance(self._failure, TerminalProviderError)


def backoff_s(attempt: int) -> float:
    """Seconds to wait after the attempt of this number, from 1; jittered, so that many do not come back together."""
    return min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
