"""The evaluate task, candidates in and verdicts out, and the confirm task, which runs a would-be best again."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from overnight.schemas.outcome import Verdict
from overnight.schemas.program import Candidate, Judged
from overnight.tasks.evaluate.confirmation import Confirmer
from overnight.tasks.evaluate.evaluator import Evaluator


@task(name="evaluate", task_run_name="evaluate-{batch}", cache_policy=NO_CACHE)
def evaluate(
    evaluator: Evaluator,
    generation: int,
    batch: int,  # noqa: ARG001  (for the name of the task run)
    candidates: Sequence[Candidate],
) -> list[tuple[Candidate, Verdict]]:
    """Evaluate candidates in the sandbox.

    Args:
        evaluator: Evaluates them.
        generation: Number of the generation.
        batch: Number of the task in the generation, from 1.
        candidates: Result of the sample task.
    """
    return evaluator.evaluate(candidates, generation)


@task(name="confirm", task_run_name="confirm-{claim.id}", cache_policy=NO_CACHE)
def confirm(confirmer: Confirmer, generation: int, claim: Judged) -> Verdict:
    """Run a candidate again that would be the best of its niche.

    Args:
        confirmer: Runs it in a fresh container.
        generation: Number of the generation.
        claim: The candidate.
    """
    return confirmer.run_again(claim, generation)
