"""Baseline score of a problem, computed in the sandbox by a function of its specification and without a model."""

from __future__ import annotations

from dataclasses import replace

from flows.create_run import higher_limit, sandbox_fault
from flows.sandboxes import open_sandboxes
from schemas.errors import SpecificationError
from schemas.outcome import Outcome, Verdict
from schemas.problem import Problem, Split

_TIME_FACTOR = 10
"""Factor on the time limit of a candidate."""


def score_function(problem: Problem, split: Split, function: str) -> Verdict:
    """Evaluate a function of the specification in place of its run function, on one split of the inputs.

    Raises:
        SpecificationError: If the function has no score.
        EnvironmentFault: If the sandbox failed.
    """
    limits = problem.settings.limits
    # Unlike a candidate, a baseline may search for a while, also on a busy machine.
    longer_limits = limits.model_copy(update={"wall_s": _TIME_FACTOR * limits.wall_s, "cpu_s": None})
    baseline_problem = replace(
        problem,
        specification=problem.specification.with_run(function),
        settings=problem.settings.model_copy(update={"thresholds": (), "limits": longer_limits}),
    )
    with open_sandboxes(baseline_problem, split, seed=0, run_id="baseline", isolation=False, programs=1) as sandbox:
        verdict = sandbox.evaluate(problem.specification.start_program)
    if verdict.outcome is Outcome.SANDBOX_ERROR:
        raise sandbox_fault(verdict)
    if not verdict.is_scored:
        raise SpecificationError(
            f"`{function}` has no score: {verdict.outcome.value}: {verdict.error}",
            remedy=higher_limit(verdict, limits) or "It must return a number for each input.",
        )
    return verdict
