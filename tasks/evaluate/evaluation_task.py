"""The evaluate task, candidates in and verdicts out, and the confirm task, which re-runs would-be bests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.outcome import Verdict
from schemas.program import Candidate, Judged
from tasks.evaluate.confirmation import confirmers
from tasks.evaluate.evaluator import evaluators

Pairs = list[tuple[Candidate, Verdict]]


@task(name="evaluate", task_run_name="evaluate-{batch}", cache_policy=NO_CACHE)
def evaluate(run: str, generation: int, batch: int, candidates: Sequence[Candidate]) -> Pairs:  # noqa: ARG001
    """Evaluate candidates in the sandbox.

    Args:
        run: Directory of the run.
        generation: Number of the generation.
        batch: Number of the task in the generation, from 1, for its name.
        candidates: Result of the sample task.
    """
    return evaluators.of(run).judge(candidates, generation)


@task(name="confirm", task_run_name="confirm", cache_policy=NO_CACHE)
def confirm(run: str, generation: int, judged: Sequence[Judged], best: Mapping[str, float]) -> list[Judged]:
    """Confirm candidates that would be the best of their niche.

    Args:
        run: Directory of the run.
        generation: Number of the generation.
        judged: Candidates with their verdicts, in order.
        best: Best score of each niche before them.
    """
    confirmer = confirmers.of(run)
    return confirmer.confirm(judged, best, generation) if confirmer else list(judged)
