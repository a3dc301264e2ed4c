"""The prune task: leaves out of a night's best program what no score needs."""

from __future__ import annotations

from collections.abc import Callable

from prefect import task
from prefect.cache_policies import NO_CACHE

from overnight.schemas.program import Judged


@task(name="prune", task_run_name="prune", cache_policy=NO_CACHE)
def prune(pruned: Callable[[], Judged | None]) -> Judged | None:
    """Return the candidate that comes of pruning the best program; `None` where nothing is to be recorded."""
    return pruned()
