"""Where answers are kept from the moment they are paid for, and which generations share a batch."""

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
    """Of an open session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._batch_jobs: list[BatchJob] = []

    def seller(self, generation: int) -> BatchCompletionSource:
        """Who answers for a generation: what is under way for it, else something new for it and others of its group."""
        for batch_job in self._batch_jobs:
            if generation in batch_job.generations and not batch_job.has_failed():
                return batch_job.source(generation)
        session = self._session
        batch_job = BatchJob(
            session.run.problem.settings.sampling,
            {number: samples_of(session.prompts(number)) for number in self._group(generation)},
            _CompletionStores(session),
            PendingBatches(session.files.directory / "paid"),
            session.progress.budget,
            lambda: session.may_ask() and not session.progress.interrupted,
            session.progress.note,
        )
        self._batch_jobs = [batch_job, *self._batch_jobs[:1]]
        return batch_job.source(generation)

    def brought(self, generation: int) -> bool:
        """Whether answers for a generation are here that no night has used yet."""
        is_there = any(generation in batch_job.generations and batch_job.answered_at for batch_job in self._batch_jobs)
        return is_there and bool(self._session.paid(generation).known())

    def seconds_since(self, begin: float) -> float:
        """Seconds since then, but for those in which answers were waited for."""
        return time.monotonic() - max([begin, *(batch_job.answered_at for batch_job in self._batch_jobs)])

    def give_up(self) -> None:
        for batch_job in self._batch_jobs:
            batch_job.give_up()

    def _group(self, generation: int) -> list[int]:
        """It and the later ones of its group that the night will begin."""
        session = self._session
        size = session.run.problem.settings.sampling.batch_generations
        before = session.run.given
        last = before + ((generation - 1 - before) // size + 1) * size
        later = [number for number in range(generation + 1, last + 1) if number in session.asked]
        return [generation, *(number for number in later if session.may_begin(number))]


class _CompletionStores:
    """The journals of all generations."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def known(self, generation: int) -> Mapping[Key, Completion]:
        return self._session.paid(generation).known()

    def record(self, generation: int, completions: Sequence[Completion]) -> None:
        self._session.paid(generation).record(completions)


@dataclass(frozen=True)
class NightCompletionStore:
    """The journal of a generation, which also tells the night what was bought and whether it could be kept."""

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
