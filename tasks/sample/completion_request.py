"""The completions of one generation: bought at once or ahead of time, each paid for once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from typing import Protocol

from schemas.program import Completion, Prompt
from tasks.sample.gateway import Record, Sample, await_cancellation
from tasks.sample.prompts import prompt_hash

Key = tuple[int, int, str]


class CompletionStore(Protocol):
    """Where completions are kept from the moment they are paid for."""

    def known(self) -> Mapping[Key, Completion]:
        """By prompt, sample and the prompt's hash."""
        ...

    def record(self, completions: Sequence[Completion]) -> None:
        """Returns when they are safe."""
        ...


class CompletionSource(Protocol):
    """Who answers prompts: models, or a record of what they answered before."""

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        """Begins to answer them, and has what is paid for recorded; what nobody answers is left out."""
        ...


class CompletionRequest:
    """What one generation's prompts are answered, batch by batch.

    What `paid` knows is not bought again, whoever bought it: an attempt that failed, a process that was killed, or a
    purchase that was begun while the generation before was still being evaluated.

    Args:
        prompts: All of the generation, in order.
        seller: Answers them.
        paid: Of this generation.
        batch: Prompts in a batch.
    """

    def __init__(self, prompts: Sequence[Prompt], seller: CompletionSource, paid: CompletionStore, batch: int) -> None:
        self.batches = [prompts[start : start + batch] for start in range(0, len(prompts), batch)]
        self._paid = paid
        self._is_cut = False
        self._known = dict(paid.known())
        self._futures: list[Future[list[Completion]]] = [
            seller.submit([sample for sample in samples_of(prompts) if _key(sample) not in self._known], paid.record)
            for prompts in self.batches
        ]

    def completions(self, batch: int) -> list[Completion]:
        """Waits for a batch; ordered by prompt and sample.

        Raises:
            ProviderError: As `Gateway.submit` says. What was answered is paid for and recorded all the same.
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
        """End what is in flight, so that `completions` returns what was answered before."""
        self._is_cut = True
        self.give_up()

    def has_failed(self) -> bool:
        """Whether some of it will never be answered."""
        return any(future.done() and future.exception() is not None for future in self._futures)

    def finish(self, timeout_s: float) -> None:
        """Waits until nothing is in flight, so that what is being paid for is recorded."""
        wait(self._futures, timeout=timeout_s)

    def give_up(self) -> None:
        """Ends what is in flight; whoever waits for it is told."""
        for future in self._futures:
            future.cancel()


def samples_of(prompts: Sequence[Prompt]) -> list[Sample]:
    return [Sample(prompt, number) for prompt in prompts for number in range(prompt.samples)]


def _key(sample: Sample) -> Key:
    return sample.prompt.index, sample.number, prompt_hash(sample.prompt)
