"""Send requests to models concurrently, with retries and fallbacks, within the budget; `endpoint.py` has the waits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from overnight.schemas.completion_source import Record, Sample
from overnight.schemas.errors import (
    Outage,
    PromptRefused,
    ProviderError,
    TerminalProviderError,
    TransientProviderError,
)
from overnight.schemas.program import Completion
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample.budget import Budget, Estimate, RequestsInFlight
from overnight.tasks.sample.completion_sources import completions_of, empty_completions, gravest, key_of, requests_of
from overnight.tasks.sample.endpoint import Endpoint, backoff_s
from overnight.tasks.sample.provider import Turn, event_loop, every_model, send_request, send_turn, takes_n
from overnight.tasks.sample.providers import Usage

T = TypeVar("T")

JUDGE = "judge"
"""Name by which the model is asked that the settings name as the judge."""

_MOST_REQUESTS = 10_000
"""Requests at a time where the settings name no number: a night has no more samples in flight than it planned."""


class Gateway:
    """Client of all models, which sends requests concurrently and passes each response to `record` before it is used.

    Args:
        settings: Models, limits and time-outs.
        may_ask: Called before each request and each repetition; if it returns false, it is not sent, and its samples
            are omitted. What it raises becomes the request's error.
        budget: Budget; a request for which nothing is left is not sent, and its samples are omitted.
        log: Called with a message when a fallback is used.
        in_flight: Counts the requests that are not answered yet.
    """

    def __init__(
        self,
        settings: Sampling,
        may_ask: Callable[[], bool] = lambda: True,
        budget: Budget | None = None,
        log: Callable[[str], None] = lambda _: None,
        in_flight: RequestsInFlight | None = None,
    ) -> None:
        self._settings = settings
        self._may_ask = may_ask
        self._budget = budget or Budget()
        self._log = log
        self._in_flight = in_flight or RequestsInFlight()
        self._semaphore = asyncio.Semaphore(settings.concurrency or _MOST_REQUESTS)
        self._endpoints = {
            _endpoint_key(model): Endpoint(model, attempts=settings.attempts, max_tokens=settings.max_tokens)
            for model in every_model(settings)
        }
        self._models = {model.name: model.asked for model in settings.models}
        if settings.judge is not None:
            self._models[JUDGE] = settings.judge
        self._single_sample_models: set[str] = set()

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        """Start to request the samples, concurrently.

        Args:
            wanted: Samples; those of one prompt share a request if the provider supports it.
            record: Called with the completions of each response, from the gateway's thread; they are safe when it
                returns.

        Returns:
            A future of the completions, ordered by prompt and sample. It raises TerminalProviderError if no retry
            can help, and TransientProviderError if a provider and its fallbacks failed `attempts` times; both after
            the other samples are completed and recorded.
        """
        return asyncio.run_coroutine_threadsafe(self._sample_all(wanted, record), event_loop())

    def sample(self, wanted: Sequence[Sample], record: Record) -> list[Completion]:
        """Request the samples as `submit` does, and wait for all of them."""
        return self.submit(wanted, record).result()

    def may_ask(self) -> bool:
        """Return whether the night lets models be asked; the budget is another matter."""
        return self._may_ask()

    def converse(
        self,
        name: str,
        request: Mapping[str, Any],
        keep: Callable[[Turn], None],
        may_ask: Callable[[], bool] | None = None,
    ) -> Future[Turn | None]:
        """Begin to ask the model of an agent for its next turn, or the judge.

        Args:
            name: Name of the model in the settings, with its agent; or `JUDGE`.
            request: The request, in OpenAI's form.
            keep: Called with the turn, from the gateway's thread; it is safe when it returns.
            may_ask: As for the gateway, whose own it is by default.

        Returns:
            A future of the turn; `None` if the budget is spent, or the night ends. It raises as for `submit`.
        """
        asked = self._converse(self._models[name], request, keep, may_ask or self._may_ask, is_agent=name != JUDGE)
        return asyncio.run_coroutine_threadsafe(asked, event_loop())

    async def _converse(
        self,
        model: Model,
        request: Mapping[str, Any],
        keep: Callable[[Turn], None],
        may_ask: Callable[[], bool],
        *,
        is_agent: bool,
    ) -> Turn | None:
        estimate = self._endpoint(model).estimate(len(json.dumps(request)) // 4, 1)
        async with self._semaphore, self._budget.reserve(estimate) as fits:
            if not fits:
                return None
            once = partial(self._turn, request, estimate, may_ask, is_agent=is_agent)
            turn = await self._with_fallbacks(model, once)
            if turn is not None:
                keep(turn)
            return turn

    async def _turn(
        self,
        request: Mapping[str, Any],
        estimate: Estimate,
        may_ask: Callable[[], bool],
        endpoint: Endpoint,
        *,
        is_agent: bool,
    ) -> Turn | None:
        await endpoint.wait_for_rate_limit(estimate)
        if not may_ask():
            return None
        try:
            with self._in_flight.waiting(endpoint.model.name):
                turn = await send_turn(endpoint.model, request, self._settings)
        except PromptRefused as error:
            # An agent makes its request itself, so a refusal is its own fault.
            if not (is_agent or endpoint.has_responded or error.is_about_the_text):
                raise
            return Turn({}, "refused", Usage(0, 0, 0.0), endpoint.model.name, error.message)
        endpoint.record_response(turn.usage, estimate, 1)
        return turn

    async def _sample_all(self, wanted: Sequence[Sample], record: Record) -> list[Completion]:
        groups = requests_of(wanted, self._takes_n)
        requests = [asyncio.ensure_future(self._request(group, record)) for group in groups]
        results = await asyncio.gather(*requests, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            raise gravest(failures)
        completions = [completion for result in results if isinstance(result, list) for completion in result]
        return sorted(completions, key=lambda completion: (completion.prompt, completion.sample))

    def _takes_n(self, name: str) -> bool:
        model = self._models[name]
        names = [each.name for each in (model, *model.fallbacks)]
        return all(takes_n(each) and each not in self._single_sample_models for each in names)

    async def _request(self, group: Sequence[Sample], record: Record) -> list[Completion]:
        async with self._semaphore:
            if not self._may_ask():
                return []
            async with self._budget.reserve(self._estimate(group)) as fits:
                if not fits:
                    return []
                completions = await self._with_fallbacks(
                    self._models[group[0].prompt.model], partial(self._once, group)
                )
                if not completions:
                    return []
                record(completions)
        rest = group[len(completions) :]
        if rest:
            # The provider accepted `n` but returned fewer choices: from now on, request one sample at a time.
            self._single_sample_models.add(group[0].prompt.model)
            for sample in rest:
                completions += await self._request([sample], record)
        return completions

    def _estimate(self, group: Sequence[Sample]) -> Estimate:
        prompt = group[0].prompt
        return self._endpoint(self._models[prompt.model]).estimate(len(prompt.whole_text) // 4, len(group))

    def _endpoint(self, model: Model) -> Endpoint:
        return self._endpoints[_endpoint_key(model)]

    async def _with_fallbacks(self, model: Model, once: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Try the model, then its fallbacks; endpoints that failed recently come last.

        Raises:
            ProviderError: The error for which a retry is most likely to help, if all of them fail.
        """
        endpoints = [self._endpoint(each) for each in (model, *model.fallbacks)]
        failures: list[ProviderError] = []
        for endpoint in sorted(endpoints, key=Endpoint.is_cooling_down):
            try:
                return await self._with_retries(endpoint, once)
            except (TransientProviderError, TerminalProviderError) as error:
                failures.append(error)
                if endpoint is not endpoints[-1] and len(failures) < len(endpoints):
                    self._log(f"{error.message}; trying a fallback")
        raise max(failures, key=_retry_priority)

    async def _with_retries(self, endpoint: Endpoint, once: Callable[[Endpoint], Awaitable[T]]) -> T:
        began = time.monotonic()
        async with endpoint.admit(began):
            for attempt in range(1, self._settings.attempts + 1):
                endpoint.require_open(began)
                try:
                    return await once(endpoint)
                except TerminalProviderError as error:
                    raise endpoint.close(error) from error
                except TransientProviderError as error:
                    endpoint.delay(error)
                    if attempt == self._settings.attempts:
                        raise endpoint.fail_request(error, began) from error
                await asyncio.sleep(backoff_s(attempt))
        raise AssertionError("attempts is at least 1")

    async def _once(self, group: Sequence[Sample], endpoint: Endpoint) -> list[Completion]:
        """Send one request for a group, unless it may not be asked any more.

        A prompt that is refused for good has completions without text.
        """
        prompt, estimate, keys = group[0].prompt, self._estimate(group), list(map(key_of, group))
        await endpoint.wait_for_rate_limit(estimate)
        if not self._may_ask():  # it may have waited for long, and others may be in flight now
            return []
        asked_at, begin = datetime.now(UTC), time.monotonic()
        seed = prompt.seeds[group[0].number]
        try:
            with self._in_flight.waiting(endpoint.model.name):
                response = await send_request(endpoint.model, prompt, self._settings, samples=len(group), seed=seed)
        except PromptRefused as error:
            endpoint.require_other_answers(error)
            return empty_completions(keys, error.message, "refused", model=prompt.model, asked_at=datetime.now(UTC))
        endpoint.record_response(response.usage, estimate, len(response.choices))
        return completions_of(
            keys,
            response.choices,
            response.usage,
            model=endpoint.model.name,
            asked_at=asked_at,
            latency_s=time.monotonic() - begin,
        )


def await_cancellation() -> None:
    """Return once requests that were cancelled before can no longer record a completion."""
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), event_loop()).result()


def _endpoint_key(model: Model) -> tuple[str, str | None]:
    return model.name, model.api_base


def _retry_priority(error: ProviderError) -> int:
    """Rank an error by how likely a retry is to help, so that one model's wrong key does not end the retries."""
    if isinstance(error, TerminalProviderError):
        return 0
    return 1 if isinstance(error, Outage) else 2
