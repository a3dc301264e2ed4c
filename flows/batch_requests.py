"""Batch jobs of an open run: which generations share one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from flows.completion_stores import CompletionStores
from flows.night_control import NightControl
from flows.progress import Progress
from schemas.generation import RunRecord
from schemas.program import TUNER, Prompt
from tasks.history.files import RunFiles
from tasks.history.pending_batches import PendingBatches
from tasks.sample.batch_job import BatchCompletionSource, BatchJob
from tasks.sample.completion_request import samples_of


class BatchRequests:
    """The batch jobs of an open run.

    Args:
        run: The run.
        files: Its files.
        prompts: Returns all prompts of a generation; none if it is not planned.
        stores: Its completions.
        progress: Progress and budget of the night.
        control: Limits of the night.
    """

    def __init__(
        self,
        run: RunRecord,
        files: RunFiles,
        prompts: Callable[[int], Sequence[Prompt]],
        stores: CompletionStores,
        progress: Progress,
        control: NightControl,
    ) -> None:
        self._run = run
        self._files = files
        self._prompts = prompts
        self._stores = stores
        self._progress = progress
        self._control = control
        self._batch_jobs: list[BatchJob] = []

    def completion_source(self, generation: int) -> BatchCompletionSource:
        """Return the generation's completion source: its pending batch job, or a new one for its whole group."""
        for batch_job in self._batch_jobs:
            if generation in batch_job.generations and not batch_job.has_failed():
                return batch_job.source(generation)
        batch_job = BatchJob(
            self._run.problem.settings.sampling,
            {number: samples_of(_sent(prompts)) for number, prompts in self._group(generation).items()},
            self._stores,
            PendingBatches(self._files.directory / "paid", self._files.backend),
            self._progress.budget,
            lambda: self._control.may_ask() and not self._progress.interrupted,
            self._progress.note,
        )
        self._batch_jobs = [batch_job, *self._batch_jobs[:1]]
        return batch_job.source(generation)

    def brought(self, generation: int) -> bool:
        """Return whether a batch job has brought completions of a generation that no night has used yet."""
        is_there = any(generation in batch_job.generations and batch_job.answered_at for batch_job in self._batch_jobs)
        return is_there and bool(self._stores.known(generation))

    def seconds_since(self, begin: float) -> float:
        """Return the seconds elapsed since `begin`, without the time spent waiting for batch jobs."""
        return time.monotonic() - max([begin, *(batch_job.answered_at for batch_job in self._batch_jobs)])

    def give_up(self) -> None:
        for batch_job in self._batch_jobs:
            batch_job.give_up()

    def _group(self, generation: int) -> dict[int, Sequence[Prompt]]:
        """Return the prompts of a generation and of the later ones of its group that the night will begin."""
        size = self._run.problem.settings.sampling.batch_generations
        before = self._run.given
        last = before + ((generation - 1 - before) // size + 1) * size
        later = {number: self._prompts(number) for number in range(generation + 1, last + 1)}
        begun = {number: prompts for number, prompts in later.items() if prompts and self._control.may_begin(number)}
        return {generation: self._prompts(generation), **begun}


def _sent(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts that are sent to a provider, which those of the tuner are not."""
    return [prompt for prompt in prompts if prompt.model != TUNER]
