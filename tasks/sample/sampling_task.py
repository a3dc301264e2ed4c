"""The sample task: prompts in, candidates out."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.program import Candidate, Prompt
from tasks.sample.sampler import samplers


@task(name="sample", task_run_name="sample-{batch}", cache_policy=NO_CACHE)
def sample(run: str, generation: int, batch: int, prompts: Sequence[Prompt]) -> list[Candidate]:  # noqa: ARG001
    """Request the completions of some prompts and parse them into candidates.

    Args:
        run: Directory of the run.
        generation: Number of the generation.
        batch: Number of the task in the generation, from 1, for its name.
        prompts: The prompts.
    """
    return samplers.of(run).sample(generation, prompts)
