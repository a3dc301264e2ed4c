"""The select task, which commits a generation."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.generation import GenerationRecord
from tasks.select.selection import committers


@task(name="select", task_run_name="select", cache_policy=NO_CACHE)
def select(run: str, generation: GenerationRecord) -> float:
    """Commit a generation, whose results the algorithm has been told of; return the run's best score after it.

    Args:
        run: Directory of the run.
        generation: Its record, with all candidates and the changes of the population.
    """
    return committers.of(run).commit(generation)
