"""The evaluate task: a batch of candidates, as soon as it is sampled; and the confirm task, once all are judged."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.outcome import Verdict
from schemas.program import Candidate, Judged
from tasks.evaluate.batch import Evaluator
from tasks.evaluate.confirm import Confirmer


@task(name="evaluate", task_run_name="evaluate-{batch}", cache_policy=NO_CACHE)
def evaluate(
    batch: int,  # noqa: ARG001  (names the task run)
    candidates: Sequence[Candidate],
    evaluator: Evaluator,
) -> list[tuple[Candidate, Verdict | None]]:
    """Prefect's wrapper."""
    return evaluator.judge(candidates)


@task(name="confirm", task_run_name="confirm", cache_policy=NO_CACHE)
def confirm(judged: Sequence[Judged], best: Sequence[float], confirmer: Confirmer) -> list[Judged]:
    """Prefect's wrapper."""
    return confirmer.confirm(judged, best)
