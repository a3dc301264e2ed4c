"""The evaluate task: a batch of candidates, as soon as it is sampled."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.outcome import Verdict
from schemas.program import Candidate
from tasks.evaluate.batch import Evaluator


@task(name="evaluate", task_run_name="evaluate-{batch}", cache_policy=NO_CACHE)
def evaluate(
    batch: int,  # noqa: ARG001  (names the task run)
    candidates: Sequence[Candidate],
    evaluator: Evaluator,
) -> list[tuple[Candidate, Verdict | None]]:
    """Prefect's wrapper."""
    return evaluator.judge(candidates)
