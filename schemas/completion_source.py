"""Define the seam of a completion source: samples in, completions out, each recorded before it is returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from overnight.schemas.program import Completion, Prompt

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
