"""Prompts of many generations sent in one batch a model, waited for, and collected; each paid for once.

The slip of a batch is on the disk before it is sent, with its id before anything waits for it, and until its answers
are safe. So whoever comes after a crash collects it, and sends nothing again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from schemas.errors import Outage, ProviderOutage, TerminalProviderError, TransientProviderError
from schemas.pending_batch import PendingBatch
from schemas.program import Completion
from schemas.settings import Model, Sampling
from tasks.sample import batch_api
from tasks.sample.budget import Budget, Estimate
from tasks.sample.completion_request import Key
from tasks.sample.gateway import Record, Sample
from tasks.sample.prompts import prompt_hash
from tasks.sample.provider import Choice, clean, event_loop, rough_tokens, takes_n
from tasks.sample.usage import Claim, Usage, settle

Address = tuple[int, int, int, str]
"""Generation, prompt, sample and the prompt's hash."""

FIRST_LOOK_S = 1.0
LONGEST_LOOK_S = 60.0
_LIKELY_TOKENS = 4096


class PendingBatchStore(Protocol):
    """Where batches under way are kept."""

    def keep(self, pending_batch: PendingBatch) -> None:
        """Returns when it is safe."""
        ...

    def drop(self, pending_batch: PendingBatch) -> None: ...

    def all(self) -> list[PendingBatch]: ...


class CompletionStores(Protocol):
    """Where completions of all generations are kept from the moment they are paid for."""

    def known(self, generation: int) -> Mapping[Key, Completion]: ...

    def record(self, generation: int, completions: Sequence[Completion]) -> None:
        """Returns when they are safe."""
        ...


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request of a batch: samples of one prompt."""

    generation: int
    samples: tuple[Sample, ...]

    @property
    def custom_id(self) -> str:
        prompt, numbers = self.samples[0].prompt, "+".join(str(one.number) for one in self.samples)
        return f"{self.generation}.{prompt.index}.{numbers}.{prompt_hash(prompt)}"


class BatchJob:
    """The prompts of some generations on their way through a Batch API.

    Args:
        sampling: Models, limits.
        wanted: Samples by generation, the first that is needed first.
        books: Where answers go; what they know is not sent.
        pending_batches: Batches under way; all of them are collected first, whoever sent them.
        budget: What a batch costs at most is set aside; what does not fit is not sent.
        may_wait: Whether there is time to wait, and to send.
        tell: Told in words how a batch stands.
    """

    def __init__(
        self,
        sampling: Sampling,
        wanted: Mapping[int, Sequence[Sample]],
        books: CompletionStores,
        pending_batches: PendingBatchStore,
        budget: Budget,
        may_wait: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> None:
        self.generations = frozenset(wanted)
        self.answered_at = 0.0
        self._sampling = sampling
        self._wanted = wanted
        self._books, self._pending_batches, self._ledger = books, pending_batches, budget
        self._may_wait, self._tell = may_wait, tell
        self._models = {model.name: model for model in sampling.models}
        self._texts = {
            (generation, one.prompt.index): one.prompt.text for generation, samples in wanted.items() for one in samples
        }
        self._one_at_a_time: set[str] = set()
        self._tried: Counter[Address] = Counter()
        self._reasons: dict[Address, str] = {}
        self._done = asyncio.run_coroutine_threadsafe(self._run(), event_loop())

    def seller(self, generation: int) -> BatchCompletionSource:
        """Who answers for one of the generations."""
        return BatchCompletionSource(self, generation)

    def has_failed(self) -> bool:
        """Whether it ended without an answer to everything that could be asked."""
        return self._done.cancelled() or (self._done.done() and self._done.exception() is not None)

    def give_up(self) -> None:
        """Waits no longer; what is under way is collected another time."""
        self._done.cancel()

    async def answers(self, generation: int, wanted: Sequence[Sample]) -> list[Completion]:
        """What is answered of these samples, when all is answered."""
        if wanted:
            await asyncio.shield(asyncio.wrap_future(self._done))
        known = self._books.known(generation)
        return [known[key] for key in map(_key, wanted) if key in known]

    async def _run(self) -> None:
        while True:
            await asyncio.gather(*(self._collect(pending_batch) for pending_batch in self._pending_batches.all()))
            self._lose([item for item in self._missing() if self._is_given_up(item)])
            items = self._missing()
            if not items or not await self._send(items):
                break
        self.answered_at = time.monotonic()

    def _is_given_up(self, item: BatchItem) -> bool:
        return any(self._tried[_address_of(item.generation, one)] >= self._sampling.attempts for one in item.samples)

    def _missing(self) -> list[BatchItem]:
        items = []
        for generation, samples in self._wanted.items():
            known = self._books.known(generation)
            groups: dict[tuple[int, int], list[Sample]] = {}
            for one in samples:
                if _key(one) not in known:
                    alone = one.prompt.model in self._one_at_a_time or not takes_n(one.prompt.model)
                    groups.setdefault((one.prompt.index, one.number if alone else -1), []).append(one)
            items += [BatchItem(generation, tuple(group)) for group in groups.values()]
        return items

    async def _send(self, items: Sequence[BatchItem]) -> bool:
        """Sends as many as the budget allows, in order; false where that is none.

        Raises:
            Outage: If there is no time.
        """
        self._require_time("is not sent any more")
        fitting = self._within_budget(items)
        for name, model in self._models.items():
            mine = [item for item in fitting if item.samples[0].prompt.model == name]
            if mine:
                await self._send_to(model, mine)
        if not fitting and not self._books.known(next(iter(self._wanted))):
            raise Outage("what is left of the budget does not cover one more request in a batch")
        return bool(fitting)

    async def _send_to(self, model: Model, items: Sequence[BatchItem]) -> None:
        most = [self._most(item) for item in items]
        now = datetime.now(UTC)
        pending_batch = PendingBatch(
            f"{now:%Y%m%dT%H%M%S%f}-{prompt_hash(items[0].samples[0].prompt)}",
            model.name,
            now,
            usd=sum(one.usd for one in most),
            tokens=sum(one.tokens for one in most),
        )
        lines = [
            batch_api.request_line(one.custom_id, model, one.samples[0].prompt, self._sampling, len(one.samples))
            for one in items
        ]
        self._pending_batches.keep(pending_batch)
        try:
            batch_id = await batch_api.send(model, lines, pending_batch.key)
        except TerminalProviderError:
            self._pending_batches.drop(pending_batch)  # it was told no
            raise
        self._pending_batches.keep(replace(pending_batch, batch_id=batch_id))
        self._tried.update(_address_of(item.generation, one) for item in items for one in item.samples)

    def _within_budget(self, items: Sequence[BatchItem]) -> list[BatchItem]:
        usd, tokens, fitting = 0.0, 0, []
        for item in items:
            most = self._most(item)
            usd, tokens = usd + most.usd, tokens + most.tokens
            if not self._ledger.has_room(Estimate(usd, tokens)):
                self._ledger.is_exhausted = not fitting
                break
            fitting.append(item)
        return fitting

    def _most(self, item: BatchItem) -> Estimate:
        prompt = item.samples[0].prompt
        price = batch_api.batch_price(self._models[prompt.model])
        tokens_in = rough_tokens(prompt.text)
        tokens_out = (self._sampling.max_tokens or _LIKELY_TOKENS) * len(item.samples)
        return Estimate(price.of(tokens_in, tokens_out) if price else 0.0, tokens_in + tokens_out)

    async def _collect(self, pending_batch: PendingBatch) -> None:
        """Waits for a batch and records what it brought.

        Raises:
            TransientProviderError: If it failed as a whole.
        """
        model = self._models[pending_batch.model]
        with self._ledger.set_aside(Estimate(pending_batch.usd, pending_batch.tokens)):
            if not pending_batch.batch_id:
                pending_batch = replace(pending_batch, batch_id=await batch_api.find(model, pending_batch.key) or "")
            state = await self._wait(model, pending_batch) if pending_batch.batch_id else None
            for file_id in state.files if state else ():
                self._take(pending_batch, model, await batch_api.rows(model, file_id))
        self._pending_batches.drop(pending_batch)
        if state is not None and state.status == "failed":
            raise TransientProviderError(
                f"{model.name}: batch {pending_batch.batch_id} failed: {state.said or 'no reason'}"
            )

    async def _wait(self, model: Model, pending_batch: PendingBatch) -> batch_api.State:
        wait_s, silent = FIRST_LOOK_S, 0
        while True:
            try:
                state, silent = await batch_api.look(model, pending_batch.batch_id), 0
            except TransientProviderError as error:
                state, silent = None, silent + 1
                if silent >= self._sampling.attempts:
                    raise ProviderOutage(error.message, remedy=error.remedy) from error
            if state is not None and state.is_final:
                return state
            said = f"{state.status}, {state.answered} answered" if state else "no news"
            self._tell(f"batch {pending_batch.batch_id} of {model.name}: {said}")
            until = time.monotonic() + wait_s
            while time.monotonic() < until:
                self._require_time(f"is collected later: {pending_batch.batch_id}")
                await asyncio.sleep(min(0.2, wait_s))
            wait_s = min(wait_s * 1.5, LONGEST_LOOK_S)

    def _require_time(self, what: str) -> None:
        if not self._may_wait():
            raise Outage(f"a batch {what}", remedy="Nothing is lost; `overnight resume` goes on with it.")

    def _take(self, pending_batch: PendingBatch, model: Model, rows: Sequence[dict[str, Any]]) -> None:
        """Records every answer that is not known yet."""
        answers: dict[int, list[Completion]] = {}
        for row in rows:
            generation, prompt, numbers, hashed = _read_id(str(row.get("custom_id", "")))
            keys = [(prompt, number, hashed) for number in numbers]
            answers.setdefault(generation, []).extend(self._completions(pending_batch, model, row, generation, keys))
        for generation, completions in answers.items():
            known = self._books.known(generation)
            self._books.record(generation, [one for one in completions if _completion_key(one) not in known])

    def _completions(
        self, pending_batch: PendingBatch, model: Model, row: dict[str, Any], generation: int, keys: Sequence[Key]
    ) -> list[Completion]:
        response = row.get("response") or {}
        body = response.get("body") or {}
        if response.get("status_code") != 200 or not body.get("choices"):
            reason = _reason(row, body)
            self._reasons.update(dict.fromkeys(((generation, *key) for key in keys), reason))
            is_refused = response.get("status_code") == 400
            return [_empty(pending_batch, key, reason, "refused") for key in keys] if is_refused else []
        choices = [_choice(one) for one in body["choices"][: len(keys)]]
        if len(choices) < len(keys):
            self._one_at_a_time.add(model.name)
        text = self._texts.get((generation, keys[0][0]), "")
        usage = _usage(model, body.get("usage") or {}, text, [choice.text for choice in choices])
        taken = [usage, *[Usage(0, 0, 0.0)] * len(choices)]
        return [
            _completion(pending_batch, key, choice, one) for key, choice, one in zip(keys, choices, taken, strict=False)
        ]

    def _lose(self, items: Sequence[BatchItem]) -> None:
        """What no batch brought an answer to is not waited for any longer."""
        now = PendingBatch("", "", datetime.now(UTC))
        for item in items:
            lost = []
            for sample in item.samples:
                reason = self._reasons.get(_address_of(item.generation, sample), "no answer")
                said = f"lost: no answer in {self._sampling.attempts} batches: {reason}"
                lost.append(_empty(replace(now, model=sample.prompt.model), _key(sample), said, "lost"))
            self._books.record(item.generation, lost)


@dataclass(frozen=True, slots=True)
class BatchCompletionSource:
    """What a purchase asks in place of the gateway."""

    batch_job: BatchJob
    generation: int

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        """The answers when they are there; `record` is not needed, the mailing keeps them itself."""
        del record
        return asyncio.run_coroutine_threadsafe(self.batch_job.answers(self.generation, wanted), event_loop())


def _key(sample: Sample) -> Key:
    return sample.prompt.index, sample.number, prompt_hash(sample.prompt)


def _address_of(generation: int, sample: Sample) -> Address:
    return generation, *_key(sample)


def _completion_key(completion: Completion) -> Key:
    return completion.prompt, completion.sample, completion.prompt_hash


def _read_id(custom_id: str) -> tuple[int, int, list[int], str]:
    """Generation, prompt, samples and the prompt's hash."""
    generation, prompt, numbers, hashed = custom_id.split(".")
    return int(generation), int(prompt), [int(number) for number in numbers.split("+")], hashed


def _reason(row: dict[str, Any], body: dict[str, Any]) -> str:
    error = body.get("error") or row.get("error") or {}
    return clean(str(error.get("message") or error.get("code") or "an answer without a choice"))[:300]


def _choice(choice: dict[str, Any]) -> Choice:
    message = choice.get("message") or {"content": choice.get("text")}
    text, refusal = str(message.get("content") or ""), str(message.get("refusal") or "")
    reason = str(choice.get("finish_reason") or "")
    if not text and not refusal and reason == "content_filter":
        refusal = "the provider's content filter"
    return Choice(clean(text), reason, clean(refusal)[:300])


def _usage(model: Model, claimed: dict[str, Any], prompt: str, texts: list[str]) -> Usage:
    claim = _claim(claimed)
    counted = (rough_tokens(prompt), rough_tokens("".join(texts)))
    return settle(claim, prompt, texts, price=batch_api.batch_price(model), counted=counted)


def _claim(claimed: dict[str, Any]) -> Claim:
    """What is said of tokens; Google's words leave out of the answer what a model thought, which costs the same."""
    total, prompt = claimed.get("totalTokens"), claimed.get("promptTokens")
    if isinstance(total, int) and isinstance(prompt, int):
        return Claim(prompt, total - prompt, None)
    return Claim(claimed.get("prompt_tokens"), claimed.get("completion_tokens"), None)


def _completion(pending_batch: PendingBatch, key: Key, choice: Choice, usage: Usage) -> Completion:
    return Completion(
        *key,
        text=choice.text,
        model=pending_batch.model,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        cost_usd=usage.cost_usd,
        latency_s=(datetime.now(UTC) - pending_batch.sent_at).total_seconds(),
        finish_reason=choice.finish_reason,
        asked_at=pending_batch.sent_at,
        error=f"refused: {choice.refusal}" if choice.refusal else "",
    )


def _empty(pending_batch: PendingBatch, key: Key, error: str, finish_reason: str) -> Completion:
    return replace(_completion(pending_batch, key, Choice("", finish_reason), Usage(0, 0, 0.0)), error=error)
