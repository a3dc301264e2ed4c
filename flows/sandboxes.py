"""The sandboxes of a problem: slots for an evaluation, and fresh containers for confirmations."""

from __future__ import annotations

import os

from flows.images import image_of
from schemas.problem import Problem, Split
from tasks.evaluate.confirmation import confirmation
from tasks.evaluate.pool import FreshContainerPool, SandboxPool, open_fresh_pool, open_pool


def open_sandboxes(
    problem: Problem,
    split: Split,
    *,
    seed: int,
    run_id: str,
    isolation: bool | None = None,
    programs: int | None = None,
) -> SandboxPool:
    """Started slots for one split of a problem's inputs; leave the context to remove them.

    Args:
        problem: What is to be solved.
        split: Its inputs.
        seed: Of the run.
        run_id: Of the run.
        isolation: Whether the evolved function has a process of its own; as the settings say by default.
        programs: How many will be run, where that is known: no more slots are started than that.
    """
    sandbox = problem.settings.sandbox
    slots = slots_of(problem)
    return open_pool(
        problem.job(split, seed, isolation=isolation),
        image=image_of(problem),
        slots=slots if programs is None else max(1, min(slots, programs)),
        labels={"overnight.run": run_id},
        runtime=sandbox.runtime,
    )


def open_confirmations(problem: Problem, *, seed: int, run_id: str) -> FreshContainerPool:
    """Where programs are confirmed on the training inputs; nothing is started before the first."""
    sandbox = problem.settings.sandbox
    return open_fresh_pool(
        confirmation(problem.job("train", seed, isolation=True), problem.settings.noise),
        image=image_of(problem),
        slots=slots_of(problem),
        labels={"overnight.run": run_id},
        runtime=sandbox.runtime,
    )


def slots_of(problem: Problem) -> int:
    return problem.settings.sandbox.slots or os.cpu_count() or 1
