"""Waits before a request to one model's endpoint: after a failure, by its rate limit, or by its circuit breaker."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator

from overnight.schemas.errors import (
    PromptRefused,
    ProviderError,
    ProviderOutage,
    TerminalProviderError,
    TransientProviderError,
)
from overnight.schemas.sampling_settings import Model
from overnight.tasks.sample.budget import Estimate
from overnight.tasks.sample.provider import price_of
from overnight.tasks.sample.providers import DEFAULT_COMPLETION_TOKENS, Usage

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
_FIRST_COOLDOWN_S = 5.0
_LONGEST_COOLDOWN_S = 300.0
_MOST_REFUSED = 20
"""Requests in a row that are refused for their texts, after which the model is taken to refuse all."""

_SMOOTHING = 0.1
"""Weight of the newest response in the moving average of completion tokens."""


class Endpoint:
    """Rate limit, circuit breaker and token estimate of one endpoint.

    Use it in the gateway's event loop only. Times are of `time.monotonic()`.

    After an outage it is sent one request at a time until it responds again, so that a server which is down is asked
    once at a time instead of once for each request in flight.
    """

    def __init__(self, model: Model, *, attempts: int, max_tokens: int | None) -> None:
        self.model = model
        self._attempts = attempts
        self._mean_tokens_out = float(max_tokens or DEFAULT_COMPLETION_TOKENS)
        self._has_measured_tokens = False
        self._refused = 0
        self._trial_lock = asyncio.Lock()
        self._is_responding = True
        self._responded_at = -math.inf
        self._failure: ProviderError | None = None
        self._failed_at = -math.inf
        self._cooldown_s = 0.0
        self._next_request_at = 0.0

    def estimate(self, tokens_in: int, samples: int) -> Estimate:
        """Estimate the cost and tokens of a request from the responses so far."""
        tokens_out = round(self._mean_tokens_out * samples)
        price = price_of(self.model)
        return Estimate(price.cost_usd(tokens_in, tokens_out) if price else 0.0, tokens_in + tokens_out)

    def is_cooling_down(self) -> bool:
        """Return whether it failed recently or for good, so that a fallback should be tried first."""
        return self._is_closed() or time.monotonic() < self._failed_at + self._cooldown_s

    @property
    def has_responded(self) -> bool:
        return self._responded_at > -math.inf

    @contextlib.asynccontextmanager
    async def admit(self, began: float) -> AsyncIterator[None]:
        """Run the block at once if the endpoint responds, else as the only request to it.

        Raises:
            ProviderError: If the endpoint has failed since then.
        """
        if self._is_responding:
            self.require_open(began)
            yield
            return
        async with self._trial_lock:
            self.require_open(began)
            if not self._is_responding:
                yield
                return
        yield

    def require_open(self, began: float) -> None:
        """Check that a request that began at this time may be sent.

        Raises:
            ProviderError: If the endpoint has failed for good, or since the request began.
        """
        if self._failure is not None and (self._is_closed() or self._failed_at > began):
            raise self._failure

    async def wait_for_rate_limit(self, estimate: Estimate) -> None:
        """Wait until the limits of requests and tokens per minute, and the provider's Retry-After, allow a request."""
        now = time.monotonic()
        start = max(now, self._next_request_at)
        spacing = [60 / self.model.rpm] if self.model.rpm else []
        spacing += [60 * estimate.tokens / self.model.tpm] if self.model.tpm else []
        self._next_request_at = start + max(spacing, default=0.0)
        await asyncio.sleep(start - now)

    def record_response(self, usage: Usage, estimate: Estimate, samples: int) -> None:
        """Record a response, and correct the rate limit by the error of its estimate."""
        self._is_responding = True
        self._responded_at = time.monotonic()
        self._cooldown_s = 0.0
        self._refused = 0
        self._failure = None
        tokens_out = usage.tokens_out / samples
        weight = _SMOOTHING if self._has_measured_tokens else 1.0
        self._mean_tokens_out += weight * (tokens_out - self._mean_tokens_out)
        self._has_measured_tokens = True
        if self.model.tpm:
            excess = usage.tokens_in + usage.tokens_out - estimate.tokens
            self._next_request_at += 60 * excess / self.model.tpm

    def require_other_answers(self, error: PromptRefused) -> None:
        """Check that a refusal is about one prompt, which is its samples' outcome, and not about all of them.

        Raises:
            TerminalProviderError: If the model has refused every request so far, or many in a row.
        """
        if not self.has_responded and not error.is_about_the_text:
            raise error
        self._refused += 1
        if self._refused >= _MOST_REFUSED:
            last = error.message.removeprefix(f"{self.model.name}: ")
            raise TerminalProviderError(
                f"{self.model.name}: {self._refused} requests in a row were refused, the last with: {last}",
                remedy="Name another model; where prompts are too long, one with a longer context, or show less in "
                "them, such as --set search.ledger=0 --set search.notes=0.",
            ) from error

    def delay(self, error: TransientProviderError) -> None:
        """Delay the next request until the time that the provider asked for."""
        if error.retry_after_s is not None:
            earliest = time.monotonic() + min(error.retry_after_s, _LONGEST_COOLDOWN_S)
            self._next_request_at = max(self._next_request_at, earliest)

    def close(self, error: TerminalProviderError) -> TerminalProviderError:
        """Close the endpoint for good, because no retry can help, and return the error to raise."""
        self._fail(error)
        return error

    def fail_request(self, error: TransientProviderError, began: float) -> TransientProviderError:
        """Return the error of a request whose attempts all failed: an outage, unless a response came since it began."""
        attempts = f"{self._attempts} attempt{'s' if self._attempts > 1 else ''}"
        last = error.message.removeprefix(f"{self.model.name}: ")
        message = f"{self.model.name}: {attempts} failed, the last with: {last}"
        remedy = "Nothing is lost; `overnight resume` goes on when the provider responds again."
        if self._responded_at > began:
            return TransientProviderError(message, remedy=remedy)
        outage = ProviderOutage(message, remedy=remedy)
        self._fail(outage)
        self._cooldown_s = min(max(_FIRST_COOLDOWN_S, self._cooldown_s * 2), _LONGEST_COOLDOWN_S)
        return outage

    def _fail(self, error: ProviderError) -> None:
        self._failure = error
        self._failed_at = time.monotonic()
        self._is_responding = False

    def _is_closed(self) -> bool:
        return isinstance(self._failure, TerminalProviderError)


def backoff_s(attempt: int) -> float:
    """Return the seconds to wait after an attempt, counted from 1; with jitter, so that retries are spread out."""
    return min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
