"""The way to every model: many requests at a time, retries, fallbacks, and no more than the budget allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.errors import (
    Outage,
    PromptRefused,
    ProviderError,
    TerminalProviderError,
    TransientProviderError,
)
from schemas.program import Completion, Prompt
from schemas.settings import Model, Sampling
from tasks.sample.budget import Budget, Estimate
from tasks.sample.endpoint import Endpoint, backoff_s
from tasks.sample.prompts import prompt_hash
from tasks.sample.provider import Answer, ask, event_loop, every_model, takes_n
from tasks.sample.usage import Usage

Record = Callable[[Sequence[Completion]], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion to buy: which prompt, which of its samples."""

    prompt: Prompt
    number: int


class Gateway:
    """Asks models, many at a time, and hands each answer to `record` before anything else is done with it.

    Args:
        settings: Models, limits and time-outs.
        may_ask: Asked before each request; where it says no, the request is not made and its samples are left out.
        budget: Likewise, with what the request may cost.
        tell: Told in words when a fallback steps in.
    """

    def __init__(
        self,
        settings: Sampling,
        may_ask: Callable[[], bool] = lambda: True,
        budget: Budget | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._may_ask = may_ask
        self._ledger = budget or Budget()
        self._tell = tell
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._lines = {
            _address(model): Endpoint(model, attempts=settings.attempts, max_tokens=settings.max_tokens)
            for model in every_model(settings)
        }
        self._models = {model.name: model for model in settings.models}
        self._one_at_a_time: set[str] = set()

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        """Begins to buy the samples, concurrently.

        Args:
            wanted: Samples; those of one prompt share a request where the provider can.
            record: Called with each answer as it arrives, from the gateway's thread; when it returns, it is safe.

        Returns:
            A future of the completions, ordered by prompt and sample. It raises TerminalProviderError
            where asking again cannot help, and TransientProviderError where a provider and its fallbacks failed as
            often as `attempts` allows, both after the other samples have been answered and recorded.
        """
        return asyncio.run_coroutine_threadsafe(self._sample_all(wanted, record), event_loop())

    def sample(self, wanted: Sequence[Sample], record: Record) -> list[Completion]:
        """`submit`, and wait for all of them."""
        return self.submit(wanted, record).result()

    async def _sample_all(self, wanted: Sequence[Sample], record: Record) -> list[Completion]:
        requests = [asyncio.ensure_future(self._request(group, record)) for group in self._groups(wanted)]
        answers = await asyncio.gather(*requests, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if failures:
            raise min(failures, key=lambda error: not isinstance(error, TerminalProviderError))
        completions = [completion for answer in answers if isinstance(answer, list) for completion in answer]
        return sorted(completions, key=lambda completion: (completion.prompt, completion.sample))

    def _groups(self, wanted: Sequence[Sample]) -> list[list[Sample]]:
        groups: dict[tuple[int, int], list[Sample]] = {}
        for sample in wanted:
            alone = not self._takes_n(sample.prompt.model)
            groups.setdefault((sample.prompt.index, sample.number if alone else -1), []).append(sample)
        return list(groups.values())

    def _takes_n(self, name: str) -> bool:
        model = self._models[name]
        return all(takes_n(one.name) and one.name not in self._one_at_a_time for one in (model, *model.fallbacks))

    async def _request(self, group: Sequence[Sample], record: Record) -> list[Completion]:
        async with self._slots:
            if not self._may_ask():
                return []
            async with self._ledger.reserved(self._estimate(group)) as has_money:
                if not has_money or not self._may_ask():
                    return []
                completions = await self._ask_in_order(group)
                record(completions)
        rest = group[len(completions) :]
        if rest:
            # The provider took `n` and answered once: from now on it is asked for one at a time.
            self._one_at_a_time.add(group[0].prompt.model)
            for sample in rest:
                completions += await self._request([sample], record)
        return completions

    def _estimate(self, group: Sequence[Sample]) -> Estimate:
        prompt = group[0].prompt
        return self._lines[_address(self._models[prompt.model])].estimate(len(prompt.text) // 4, len(group))

    async def _ask_in_order(self, group: Sequence[Sample]) -> list[Completion]:
        """The model, then its fallbacks; one that failed lately comes last.

        Raises:
            ProviderError: The one most worth waiting for, if none answers.
        """
        model = self._models[group[0].prompt.model]
        lines = [self._lines[_address(one)] for one in (model, *model.fallbacks)]
        failures: list[ProviderError] = []
        for line in sorted(lines, key=Endpoint.is_resting):
            try:
                return await self._ask_with_retries(line, group)
            except (TransientProviderError, TerminalProviderError) as error:
                failures.append(error)
                if line is not lines[-1] and len(failures) < len(lines):
                    self._tell(f"{error.message}; asking a fallback")
        raise max(failures, key=_hope)

    async def _ask_with_retries(self, line: Endpoint, group: Sequence[Sample]) -> list[Completion]:
        began = time.monotonic()
        async with line.turn(began):
            for attempt in range(1, self._settings.attempts + 1):
                line.require_open(began)
                try:
                    return await self._ask_once(line, group)
                except PromptRefused as error:
                    if not line.has_answered and not error.is_about_the_text:
                        raise line.close(error) from error
                    return [_refused(sample, error.message) for sample in group]
                except TerminalProviderError as error:
                    raise line.close(error) from error
                except TransientProviderError as error:
                    line.hold(error)
                    if attempt == self._settings.attempts:
                        raise line.give_up(error, began) from error
                await asyncio.sleep(backoff_s(attempt))
        raise AssertionError("attempts is at least 1")

    async def _ask_once(self, line: Endpoint, group: Sequence[Sample]) -> list[Completion]:
        prompt, estimate = group[0].prompt, self._estimate(group)
        await line.pace(estimate)
        asked_at, begin = datetime.now(UTC), time.monotonic()
        seed = prompt.seeds[group[0].number]
        answer = await ask(line.model, prompt, self._settings, samples=len(group), seed=seed)
        line.answered(answer, estimate, len(answer.choices))
        return _completions(group, answer, line.model.name, asked_at, time.monotonic() - begin)


def await_cancellation() -> None:
    """Return once requests that were cancelled before will record no answer any more."""
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), event_loop()).result()


def _address(model: Model) -> tuple[str, str | None]:
    return model.name, model.api_base


def _hope(error: ProviderError) -> int:
    """What may still be answered is asked again, although another model's key is wrong."""
    if isinstance(error, TerminalProviderError):
        return 0
    return 1 if isinstance(error, Outage) else 2


def _completions(
    group: Sequence[Sample], answer: Answer, model: str, asked_at: datetime, latency_s: float
) -> list[Completion]:
    nothing = Usage(0, 0, 0.0)
    return [
        Completion(
            prompt=sample.prompt.index,
            sample=sample.number,
            prompt_hash=prompt_hash(sample.prompt),
            text=choice.text,
            model=model,
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            cost_usd=usage.cost_usd,
            latency_s=latency_s,
            finish_reason=choice.finish_reason,
            asked_at=asked_at,
            error=f"refused: {choice.refusal}" if choice.refusal else "",
        )
        for sample, choice, usage in zip(group, answer.choices, [answer.usage] + [nothing] * len(group), strict=False)
    ]


def _refused(sample: Sample, reason: str) -> Completion:
    """The provider refuses this one prompt, for good: an answer without text."""
    return Completion(
        prompt=sample.prompt.index,
        sample=sample.number,
        prompt_hash=prompt_hash(sample.prompt),
        text="",
        model=sample.prompt.model,
        tokens_in=0,
        tokens_out=0,
        cost_usd=0.0,
        latency_s=0.0,
        finish_reason="refused",
        asked_at=datetime.now(UTC),
        error=reason,
    )
