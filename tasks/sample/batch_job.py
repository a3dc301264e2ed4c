"""Send the prompts of several generations in one batch per model, wait for the batches and record their completions.

A pending batch is on the disk before it is sent, with its id before anything waits for it, and until its completions
are safe. After a crash, the next attempt collects it and sends nothing twice, so that each batch is paid for once.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from overnight.schemas.completion_source import PendingBatch, Record, Sample
from overnight.schemas.errors import Outage, ProviderOutage, TerminalProviderError, TransientProviderError
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample import batch_api
from overnight.tasks.sample.batch_api import choice_of, failure_reason, usage_of
from overnight.tasks.sample.budget import Budget, Estimate
from overnight.tasks.sample.completion_sources import (
    CompletionStore,
    Key,
    completions_of,
    empty_completions,
    key_of,
    requests_of,
)
from overnight.tasks.sample.provider import event_loop, takes_n
from overnight.tasks.sample.providers import DEFAULT_COMPLETION_TOKENS, rough_tokens

SampleKey = tuple[int, int, int, str]
"""Generation, prompt, sample and the prompt's hash."""

FIRST_POLL_S = 1.0
LONGEST_POLL_S = 60.0
_CUSTOM_ID = re.compile(r"(\d+)\.(\d+)\.(\d+(?:\+\d+)*)\.(\w+)")
"""Generation, prompt, samples and the prompt's hash, as `BatchItem.custom_id` joins them."""


class PendingBatchStore(Protocol):
    """Store of the pending batches of a run."""

    def keep(self, pending_batch: PendingBatch) -> None:
        """Store a batch; return when it is safe."""
        ...

    def drop(self, pending_batch: PendingBatch) -> None: ...

    def all(self) -> list[PendingBatch]: ...


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request of a batch: samples of one prompt."""

    generation: int
    samples: tuple[Sample, ...]

    @property
    def prompt(self) -> Prompt:
        return self.samples[0].prompt

    @property
    def custom_id(self) -> str:
        numbers = "+".join(str(sample.number) for sample in self.samples)
        return f"{self.generation}.{self.prompt.index}.{numbers}.{self.prompt.hash}"


class BatchJob:
    """Completion of some generations' prompts through the provider's Batch API.

    Attributes:
        generations: Numbers of the generations.
        answered_at: `time.monotonic()` at which the job ended without an error; 0 until then.

    Args:
        sampling: Models and limits.
        wanted: Samples by generation; the generation that is needed first comes first.
        store: Returns the store of a generation's completions; samples that have one there are not sent.
        pending_batches: Batches under way; all of them are collected first, whichever job sent them.
        budget: Budget; the maximum cost of a batch is reserved, and items that do not fit are not sent.
        may_wait: Whether there is time to wait, and to send.
        log: Called with the status of a batch.
    """

    def __init__(
        self,
        sampling: Sampling,
        wanted: Mapping[int, Sequence[Sample]],
        store: Callable[[int], CompletionStore],
        pending_batches: PendingBatchStore,
        budget: Budget,
        may_wait: Callable[[], bool],
        log: Callable[[str], None],
    ) -> None:
        self.generations = frozenset(wanted)
        self.answered_at = 0.0
        self._sampling = sampling
        self._wanted = wanted
        self._store = store
        self._pending_batches = pending_batches
        self._budget = budget
        self._may_wait = may_wait
        self._log = log
        self._models = {model.name: model for model in sampling.models}
        self._prompt_texts = {
            (generation, sample.prompt.index): sample.prompt.whole_text
            for generation, samples in wanted.items()
            for sample in samples
        }
        self._single_sample_models: set[str] = set()
        self._times_sent: Counter[SampleKey] = Counter()
        self._failure_reasons: dict[SampleKey, str] = {}
        self._done = asyncio.run_coroutine_threadsafe(self._run(), event_loop())

    def source(self, generation: int) -> BatchCompletionSource:
        """Return the completion source of one of the generations."""
        return BatchCompletionSource(self, generation)

    def has_failed(self) -> bool:
        """Return whether the job ended before all samples were completed or given up."""
        return self._done.cancelled() or (self._done.done() and self._done.exception() is not None)

    def give_up(self) -> None:
        """Stop waiting; a later job collects the pending batches."""
        self._done.cancel()

    async def completions(self, generation: int, wanted: Sequence[Sample]) -> list[Completion]:
        """Wait for the end of the job; return these samples' completions, ordered by prompt and sample, without missing
        ones.
        """
        if wanted:
            await asyncio.shield(asyncio.wrap_future(self._done))
        known = self._store(generation).known()
        return [known[key] for key in sorted(map(key_of, wanted)) if key in known]

    async def _run(self) -> None:
        while True:
            await asyncio.gather(*(self._collect(pending_batch) for pending_batch in self._pending_batches.all()))
            self._record_lost([item for item in self._missing_items() if self._has_no_attempts_left(item)])
            items = self._missing_items()
            if not items or not await self._send(items):
                break
        self.answered_at = time.monotonic()

    def _has_no_attempts_left(self, item: BatchItem) -> bool:
        attempts = [self._times_sent[_sample_key(item.generation, sample)] for sample in item.samples]
        return any(count >= self._sampling.attempts for count in attempts)

    def _missing_items(self) -> list[BatchItem]:
        """Return the requests for all samples without a completion."""
        items = []
        for generation, samples in self._wanted.items():
            known = self._store(generation).known()
            missing = [sample for sample in samples if key_of(sample) not in known]
            items += [BatchItem(generation, tuple(group)) for group in requests_of(missing, self._takes_n)]
        return items

    def _takes_n(self, model: str) -> bool:
        return model not in self._single_sample_models and takes_n(model)

    async def _send(self, items: Sequence[BatchItem]) -> bool:
        """Send as many items as the budget allows, in order; return false if it allows none.

        Raises:
            Outage: If no time is left.
        """
        self._require_time("is not sent any more")
        affordable = self._within_budget(items)
        for name, model in self._models.items():
            items_of_model = [item for item in affordable if item.prompt.model == name]
            if items_of_model:
                await self._send_to(model, items_of_model)
        if not affordable and not self._store(next(iter(self._wanted))).known():
            raise Outage("the rest of the budget does not cover one more request in a batch")
        return bool(affordable)

    async def _send_to(self, model: Model, items: Sequence[BatchItem]) -> None:
        costs = [self._max_cost(item) for item in items]
        now = datetime.now(UTC)
        pending_batch = PendingBatch(
            f"{now:%Y%m%dT%H%M%S%f}-{items[0].prompt.hash}",
            model.name,
            now,
            usd=sum(cost.usd for cost in costs),
            tokens=sum(cost.tokens for cost in costs),
        )
        lines = [
            batch_api.request_line(item.custom_id, model, item.prompt, self._sampling, len(item.samples))
            for item in items
        ]
        self._pending_batches.keep(pending_batch)
        try:
            batch_id = await batch_api.create_batch(model, lines, pending_batch.key)
        except TerminalProviderError:
            # The provider has rejected the batch, so there is nothing to collect.
            self._pending_batches.drop(pending_batch)
            raise
        self._pending_batches.keep(replace(pending_batch, batch_id=batch_id))
        self._times_sent.update(_sample_key(item.generation, sample) for item in items for sample in item.samples)

    def _within_budget(self, items: Sequence[BatchItem]) -> list[BatchItem]:
        usd, tokens, affordable = 0.0, 0, []
        for item in items:
            cost = self._max_cost(item)
            usd += cost.usd
            tokens += cost.tokens
            if not self._budget.has_room(Estimate(usd, tokens)):
                self._budget.is_exhausted = not affordable
                break
            affordable.append(item)
        return affordable

    def _max_cost(self, item: BatchItem) -> Estimate:
        price = batch_api.batch_price(self._models[item.prompt.model])
        tokens_in = rough_tokens(item.prompt.whole_text)
        tokens_out = (self._sampling.max_tokens or DEFAULT_COMPLETION_TOKENS) * len(item.samples)
        return Estimate(price.cost_usd(tokens_in, tokens_out) if price else 0.0, tokens_in + tokens_out)

    async def _collect(self, pending_batch: PendingBatch) -> None:
        """Wait for a batch and record its completions.

        Raises:
            TransientProviderError: If the whole batch failed.
        """
        model = self._models[pending_batch.model]
        async with self._budget.reserve_unconditionally(Estimate(pending_batch.usd, pending_batch.tokens)):
            if not pending_batch.batch_id:
                batch_id = await batch_api.find_batch(model, pending_batch.key)
                pending_batch = replace(pending_batch, batch_id=batch_id or "")
            status = await self._wait(model, pending_batch) if pending_batch.batch_id else None
            for file_id in status.files if status else ():
                self._record_rows(pending_batch, model, await batch_api.download_rows(model, file_id))
        self._pending_batches.drop(pending_batch)
        if status is not None and status.status == "failed":
            reason = status.reason or "no reason given"
            raise TransientProviderError(f"{model.name}: batch {pending_batch.batch_id} failed: {reason}")

    async def _wait(self, model: Model, pending_batch: PendingBatch) -> batch_api.BatchStatus:
        """Poll the status of a batch until it is final.

        Raises:
            ProviderOutage: If the provider fails `attempts` times in a row.
            Outage: If no time is left.
        """
        wait_s, failures = FIRST_POLL_S, 0
        while True:
            try:
                status = await batch_api.retrieve_status(model, pending_batch.batch_id)
                failures = 0
            except TransientProviderError as error:
                status = None
                failures += 1
                if failures >= self._sampling.attempts:
                    raise ProviderOutage(error.message, remedy=error.remedy) from error
            if status is not None and status.is_final:
                return status
            summary = f"{status.status}, {status.completed} completed" if status else "status unknown"
            self._log(f"batch {pending_batch.batch_id} of {model.name}: {summary}")
            until = time.monotonic() + wait_s
            while time.monotonic() < until:
                self._require_time(f"is collected later: {pending_batch.batch_id}")
                await asyncio.sleep(min(0.2, wait_s))
            wait_s = min(wait_s * 1.5, LONGEST_POLL_S)

    def _require_time(self, what: str) -> None:
        if not self._may_wait():
            raise Outage(f"a batch {what}", remedy="Nothing is lost; `overnight resume` goes on with it.")

    def _record_rows(self, pending_batch: PendingBatch, model: Model, rows: Sequence[dict[str, Any]]) -> None:
        """Record the completions in a file's rows; skip those that are recorded already, and rows with unknown ids."""
        by_generation: dict[int, list[Completion]] = {}
        for row in rows:
            custom_id = _CUSTOM_ID.fullmatch(str(row.get("custom_id")))
            if custom_id is None:
                continue
            generation, prompt, numbers, hash_of_prompt = _read_id(custom_id)
            keys = [(prompt, number, hash_of_prompt) for number in numbers]
            completions = self._row_completions(pending_batch, model, row, generation, keys)
            by_generation.setdefault(generation, []).extend(completions)
        for generation, completions in by_generation.items():
            known = self._store(generation).known()
            new = [one for one in completions if (one.prompt, one.sample, one.prompt_hash) not in known]
            self._store(generation).record(new)

    def _row_completions(
        self, pending_batch: PendingBatch, model: Model, row: dict[str, Any], generation: int, keys: Sequence[Key]
    ) -> list[Completion]:
        response = row.get("response") or {}
        body = response.get("body") or {}
        if response.get("status_code") != 200 or not body.get("choices"):
            reason = failure_reason(row, body)
            self._failure_reasons.update({(generation, *key): reason for key in keys})
            is_refused = response.get("status_code") == 400
            return empty_completions(keys, reason, "refused", **_origin(pending_batch)) if is_refused else []
        choices = [choice_of(choice) for choice in body["choices"][: len(keys)]]
        if len(choices) < len(keys):
            self._single_sample_models.add(model.name)
        prompt = self._prompt_texts.get((generation, keys[0][0]), "")
        usage = usage_of(model, body.get("usage") or {}, prompt, [choice.text for choice in choices])
        return completions_of(keys, choices, usage, **_origin(pending_batch))

    def _record_lost(self, items: Sequence[BatchItem]) -> None:
        """Record empty completions for the samples that no batch completed, so that they are not sent again."""
        for item in items:
            lost, now = [], datetime.now(UTC)
            for sample in item.samples:
                reason = self._failure_reasons.get(_sample_key(item.generation, sample), "no answer")
                error = f"lost: no answer in {self._sampling.attempts} batches: {reason}"
                lost += empty_completions([key_of(sample)], error, "lost", model=item.prompt.model, asked_at=now)
            self._store(item.generation).record(lost)


@dataclass(frozen=True, slots=True)
class BatchCompletionSource:
    """Completion source of one generation whose prompts are sent in batches."""

    batch_job: BatchJob
    generation: int

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        """Return a future of the completions; `record` is not called, because the batch job records them itself."""
        del record
        return asyncio.run_coroutine_threadsafe(self.batch_job.completions(self.generation, wanted), event_loop())


def _sample_key(generation: int, sample: Sample) -> SampleKey:
    return generation, *key_of(sample)


def _read_id(custom_id: re.Match[str]) -> tuple[int, int, list[int], str]:
    """Return generation, prompt, samples and the prompt's hash."""
    generation, prompt, numbers, hash_of_prompt = custom_id.groups()
    return int(generation), int(prompt), [int(number) for number in numbers.split("+")], hash_of_prompt


def _origin(batch: PendingBatch) -> dict[str, Any]:
    """Return the model, the time and the latency of a batch's completions."""
    latency_s = (datetime.now(UTC) - batch.sent_at).total_seconds()
    return {"model": batch.model, "asked_at": batch.sent_at, "latency_s": latency_s}
