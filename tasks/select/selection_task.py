"""The select task: a generation's verdicts and what the algorithm made of them in, the best program out."""

from __future__ import annotations

from collections.abc import Callable

from prefect import task
from prefect.cache_policies import NO_CACHE

from overnight.schemas.generation import GenerationRecord
from overnight.schemas.program import Program


@task(name="select", task_run_name="select", cache_policy=NO_CACHE)
def select(generation: GenerationRecord, write: Callable[[GenerationRecord], None]) -> Program:
    """Write a generation to Parquet, by one atomic commit; return the run's best program after it."""
    write(generation)
    return generation.best
