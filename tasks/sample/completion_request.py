"""Request the completions of some prompts of a generation; each completion is paid for once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, wait
from typing import Protocol

from schemas.completion_source import CompletionSource, Sample
from schemas.program import Completion, Prompt
from tasks.sample.gateway import await_cancellation

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
    """A request for all completions of some prompts.

    Completions that are stored already are not requested again, whether they come from a failed attempt, a killed
    process or an earlier night.

    Args:
        prompts: Prompts of one generation, in order.
        source: Source of new completions.
        store: Store of the generation's completions.
    """

    def __init__(self, prompts: Sequence[Prompt], source: CompletionSource, store: CompletionStore) -> None:
        self._wanted = samples_of(prompts)
        self._store = store
        self._is_cut = False
        self._known = dict(store.known())
        missing = [sample for sample in self._wanted if _key(sample) not in self._known]
        self._missing = len(missing)
        self._future = source.submit(missing, store.record)

    def completions(self) -> list[Completion]:
        """Wait for the completions; return them ordered by prompt and sample.

        Raises:
            ProviderError: As for `Gateway.submit`. Completions that arrived are stored all the same.
        """
        new = {(c.prompt, c.sample): c for c in self._new()}
        answers = [self._known.get(_key(one)) or new.get((one.prompt.index, one.number)) for one in self._wanted]
        return [answer for answer in answers if answer is not None]

    def _new(self) -> list[Completion]:
        try:
            return self._future.result()
        except CancelledError:
            if not self._is_cut:
                raise
        await_cancellation()
        self._known |= self._store.known()
        return []

    def cut(self) -> None:
        """Cancel requests in flight, so that `completions` returns those that arrived before."""
        self._is_cut = True
        self.give_up()

    def is_incomplete(self) -> bool:
        """Return whether it ended with an error, or without some of the completions."""
        if not self._future.done():
            return False
        if self._future.cancelled() or self._future.exception() is not None:
            return True
        return len(self._future.result()) < self._missing

    def finish(self, timeout_s: float) -> None:
        """Wait until no request is in flight, so that all paid completions are stored."""
        wait([self._future], timeout=timeout_s)

    def give_up(self) -> None:
        """Cancel requests in flight; waiting callers get an error."""
        self._future.cancel()


def samples_of(prompts: Sequence[Prompt]) -> list[Sample]:
    return [Sample(prompt, number) for prompt in prompts for number in range(prompt.samples)]


def _key(sample: Sample) -> Key:
    return sample.prompt.index, sample.number, sample.prompt.hash
