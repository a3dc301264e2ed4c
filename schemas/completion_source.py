"""Define the seam of a completion source: samples in, completions out, each recorded before it is returned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from overnight.schemas.program import Completion, Prompt

T = TypeVar("T")

Answer = Future[list[Completion]]

Record = Callable[[Sequence[Completion]], None]
"""Stores completions; returns when they are safe."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion to request: the sample of a prompt with a number, from 0."""

    prompt: Prompt
    number: int


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """Record of a batch job, kept from before it is sent until its completions are stored.

    Attributes:
        key: Our key of the job; it is sent to the provider, too, so that a job whose id never arrived can be found.
        batch_id: Id that the provider gave the job; empty until it is known.
        usd: Upper limit of its cost, USD.
        tokens: Upper limit of its tokens, prompt and completion together.
    """

    key: str
    model: str
    sent_at: datetime
    batch_id: str = ""
    usd: float = 0.0
    tokens: int = 0


class CompletionSource(Protocol):
    """Source of completions: models, or a record of earlier completions.

    Every implementation passes `tests/contract/test_completion_source.py`.
    """

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        """Begin to answer samples; return at once. Thread-safe.

        Args:
            wanted: Samples without a completion so far, each once. None is asked for more often than its provider
                failed to answer.
            record: Called with completions before they are returned, from any thread; not called for completions that
                are stored already, or that the source stores itself.

        Returns:
            A future of at most one completion for each sample, ordered by prompt and sample; samples without an answer
            are left out. It raises TerminalProviderError if no retry can help and TransientProviderError if one may;
            completions that arrived are recorded all the same. Cancelling it sends no further request.
        """
        ...


def answer_in_thread(
    work: Callable[[Future[T]], T], name: str, on_cancel: Callable[[Future[T]], None] = lambda _: None
) -> Future[T]:
    """Return what a thread makes, or its error; `on_cancel` is called where the answer is cancelled."""
    answer: Future[T] = Future()

    def note_cancelled(_: Future[T]) -> None:
        if answer.cancelled():
            answer.set_running_or_notify_cancel()  # whoever waits for a cancelled future is told so by this call only
            on_cancel(answer)

    def run() -> None:
        # The caller may cancel the future at any time, after which it takes neither a result nor an error.
        with suppress(InvalidStateError):
            try:
                answer.set_result(work(answer))
            except BaseException as error:  # noqa: BLE001  (raised where the answer is waited for)
                answer.set_exception(error)

    answer.add_done_callback(note_cancelled)
    # A daemon, so that a sandbox or a container that does not answer cannot keep the process alive.
    threading.Thread(target=run, name=name, daemon=True).start()
    return answer
