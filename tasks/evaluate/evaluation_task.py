"""The evaluate task waits until a batch of candidates is judged; the confirm task runs would-be bests again."""

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
    """Where a batch is being judged from the moment it is sampled."""

    def verdicts(self, batch: int) -> Pairs:
        """Waits for them."""
        ...


@task(name="evaluate", task_run_name="evaluate-{batch}", cache_policy=NO_CACHE)
def evaluate(batch: int, judging: Judging, sampled: Sequence[Candidate]) -> Pairs:  # noqa: ARG001  (draws the edge)
    """Prefect's wrapper; `sampled` is what the sample task gave, so that the graph shows what came from where."""
    return judging.verdicts(batch)


@task(name="confirm", task_run_name="confirm", cache_policy=NO_CACHE)
def confirm(judged: Sequence[Judged], best: Mapping[str, float], confirmer: Confirmer) -> list[Judged]:
    """Prefect's wrapper."""
    return confirmer.confirm(judged, best)
