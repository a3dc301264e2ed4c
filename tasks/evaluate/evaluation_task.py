"""The evaluate task, which waits for a batch of verdicts, and the confirm task, which re-runs would-be bests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.outcome import Verdict
from schemas.program import Candidate, Judged
from tasks.evaluate.confirmation import Confirmer

Pairs = list[tuple[Candidate, Verdict | None]]


class Judging(Protocol):
    """A generation's batches of verdicts."""

    def verdicts(self, batch: int) -> Pairs:
        """Wait for the verdicts of a batch."""
        ...


@task(name="evaluate", task_run_name="evaluate-{batch}", cache_policy=NO_CACHE)
def evaluate(batch: int, judging: Judging, sampled: Sequence[Candidate]) -> Pairs:  # noqa: ARG001  (draws the edge)
    """Wrap `verdicts` as a Prefect task; `sampled` is the sample task's result and draws the edge in the graph."""
    return judging.verdicts(batch)


@task(name="confirm", task_run_name="confirm", cache_policy=NO_CACHE)
def confirm(judged: Sequence[Judged], best: Mapping[str, float], confirmer: Confirmer) -> list[Judged]:
    """Wrap `Confirmer.confirm` as a Prefect task."""
    return confirmer.confirm(judged, best)
