"""The sample task: prompts in, candidates out."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from overnight.schemas.program import Candidate, Prompt
from overnight.tasks.sample.sampler import Sampler


@task(name="sample", task_run_name="sample-{batch}", cache_policy=NO_CACHE)
def sample(
    sampler: Sampler,
    generation: int,
    batch: int,  # noqa: ARG001  (for the name of the task run)
    prompts: Sequence[Prompt],
) -> list[Candidate]:
    """Request the completions of some prompts and parse them into candidates."""
    return sampler.sample(generation, prompts)
