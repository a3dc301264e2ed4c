"""Requests for the completions of one generation, made in time or ahead of it; each completion is paid for once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from typing import Protocol

from schemas.program import Completion, Prompt
from tasks.sample.completion_source import CompletionSource, Sample
from tasks.sample.gateway import await_cancellation
from tasks.sample.prompts import prompt_hash

Key = tuple[int, int, str]


class CompletionStore(Protocol):
    """Store of one generation's completions, from the moment they are paid for."""

    def known(self) -> Mapping[Key, Completion]:
        """Return the stored completions by prompt, sample and hash of the prompt."""
        ...

    def record(self, completions: Sequence[Completion]) -> None:
        """Store completions; return when they are on disk."""
        ...


class CompletionRequest:
    """A request for all completions of a generation, answered batch by batch.

    Completions that are stored already are not requested again, whether they come from a failed attempt, a killed
    process, or a request that was made while the generation before was evaluated.

    Args:
        prompts: All prompts of the generation, in order.
        source: Source of new completions.
        paid: Store of the generation's completions.
        batch: Number of prompts in a batch.
    """

    def __init__(self, prompts: Sequence[Prompt], source: CompletionSource, paid: CompletionStore, batch: int) -> None:
        self.batches = [prompts[start : start + batch] for start in range(0, len(prompts), batch)]
        self._paid = paid
        self._is_cut = False
        self._known = dict(paid.known())
        self._futures: list[Future[list[Completion]]] = [
            source.submit([sample for sample in samples_of(prompts) if _key(sample) not in self._known], paid.record)
            for prompts in self.batches
        ]

    def completions(self, batch: int) -> list[Completion]:
        """Wait for the completions of a batch; return them ordered by prompt and sample.

        Raises:
            ProviderError: As for `Gateway.submit`. Completions that arrived are stored all the same.
        """
        bought = {(c.prompt, c.sample): c for c in self._bought(batch)}
        wanted = samples_of(self.batches[batch])
        answers = [self._known.get(_key(one)) or bought.get((one.prompt.index, one.number)) for one in wanted]
        return [answer for answer in answers if answer is not None]

    def _bought(self, batch: int) -> list[Completion]:
        try:
            return self._futures[batch].result()
        except CancelledError:
            if not self._is_cut:
                raise
        await_cancellation()
        self._known |= self._paid.known()
        return []

    def cut(self) -> None:
        """Cancel requests in flight, so that `completions` returns those that arrived before."""
        self._is_cut = True
        self.give_up()

    def has_failed(self) -> bool:
        """Return whether a batch has failed, so that some completions will never arrive."""
        return any(future.done() and future.exception() is not None for future in self._futures)

    def finish(self, timeout_s: float) -> None:
        """Wait until no request is in flight, so that all paid completions are stored."""
        wait(self._futures, timeout=timeout_s)

    def give_up(self) -> None:
        """Cancel requests in flight; waiting callers get an error."""
        for future in self._futures:
            future.cancel()


def samples_of(prompts: Sequence[Prompt]) -> list[Sample]:
    return [Sample(prompt, number) for prompt in prompts for number in range(prompt.samples)]


def _key(sample: Sample) -> Key:
    return sample.prompt.index, sample.number, prompt_hash(sample.prompt)
