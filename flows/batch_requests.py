"""Batch jobs of an open run: which generations share one, and where their completions are kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.errors import EnvironmentFault
from schemas.program import Completion
from tasks.history.journal import Journal
from tasks.history.pending_batches import PendingBatches
from tasks.sample.batch_job import BatchCompletionSource, BatchJob
from tasks.sample.completion_request import samples_of

if TYPE_CHECKING:
    from flows.session import Session

Key = tuple[int, int, str]


class BatchRequests:
    """The batch jobs of an open session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._batch_jobs: list[BatchJob] = []

    def completion_source(self, generation: int) -> BatchCompletionSource:
        """Return the generation's completion source: its pending batch job, or a new one for its whole group."""
        for batch_job in self._batch_jobs:
            if generation in batch_job.generations and not batch_job.has_failed():
                return batch_job.source(generation)
        session = self._session
        batch_job = BatchJob(
            session.run.problem.settings.sampling,
            {number: samples_of(session.prompts(number)) for number in self._group(generation)},
            _CompletionStores(session),
            PendingBatches(session.files.directory / "paid", session.files.backend),
            session.progress.budget,
            lambda: session.may_ask() and not session.progress.interrupted,
            session.progress.note,
        )
        self._batch_jobs = [batch_job, *self._batch_jobs[:1]]
        return batch_job.source(generation)

    def brought(self, generation: int) -> bool:
        """Return whether a batch job has brought completions of a generation that no night has used yet."""
        is_there = any(generation in batch_job.generations and batch_job.answered_at for batch_job in self._batch_jobs)
        return is_there and bool(self._session.completion_store(generation).known())

    def seconds_since(self, begin: float) -> float:
        """Return the seconds elapsed since `begin`, without the time spent waiting for batch jobs."""
        return time.monotonic() - max([begin, *(batch_job.answered_at for batch_job in self._batch_jobs)])

    def give_up(self) -> None:
        for batch_job in self._batch_jobs:
            batch_job.give_up()

    def _group(self, generation: int) -> list[int]:
        """Return a generation and the later ones of its group that the night will begin."""
        session = self._session
        size = session.run.problem.settings.sampling.batch_generations
        before = session.run.given
        last = before + ((generation - 1 - before) // size + 1) * size
        later = [number for number in range(generation + 1, last + 1) if number in session.plans]
        return [generation, *(number for number in later if session.may_begin(number))]


class _CompletionStores:
    """The completion stores of all generations."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def known(self, generation: int) -> Mapping[Key, Completion]:
        return self._session.completion_store(generation).known()

    def record(self, generation: int, completions: Sequence[Completion]) -> None:
        self._session.completion_store(generation).record(completions)


@dataclass(frozen=True)
class NightCompletionStore:
    """The completion store of a generation, which also counts completions and notes whether they could be kept."""

    journal: Journal
    session: Session

    def known(self) -> dict[tuple[int, int, str], Completion]:
        return self.journal.known()

    def record(self, completions: Sequence[Completion]) -> None:
        # Counted first: it is paid for, whether it can be kept or not.
        self.session.progress.bought(completions)
        try:
            self.journal.record(completions)
        except EnvironmentFault:
            self.session.can_keep = False
            raise
