"""The score that a problem allows without a model, `overnight check --baseline`."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

from overnight.flows.cli.printing import out, say, score, table
from overnight.flows.start.sandboxes import open_sandboxes, require_ran
from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import SPLITS, Problem, Split
from overnight.schemas.scores import reduced


def print_baseline(problem: Problem, *, show_table: bool) -> list[dict[str, Any]]:
    """Compute the score without a model on each split, beside the start program's; print and return both."""
    known = problem.settings.known
    recorded = f"recorded in the specification: {score(known.honesty)}, {known.honesty_label}"
    if not known.baseline:
        raise UsageError(
            f"{problem.name} has no function that computes a score without a model"
            + ("" if known.honesty is None else f"; {recorded}"),
            remedy="Write a function that computes it for one input; name it in known.baseline of [tool.overnight].",
        )
    facts = [each for split in SPLITS if problem.inputs[split] for each in _scored(problem, split)]
    if show_table:
        rows = [
            (
                *(each["split"], each["program"], score(each["score"])),
                "" if each["standard_error"] is None else score(each["standard_error"]),
                f"{each['seconds']:.2f}",
            )
            for each in facts
        ]
        columns = ("inputs", "program", problem.settings.reducer, "standard error", "seconds")
        title = f"{problem.settings.title or problem.name}: {problem.settings.score_name}"
        out().print(table(columns, rows, right=columns[2:], title=title))
    if known.honesty is not None:
        say(recorded)
    return facts


def _scored(problem: Problem, split: Split) -> list[dict[str, Any]]:
    """Return the scores of the start program and of the baseline on one split, as plain data."""
    baseline, reducer = problem.settings.known.baseline, problem.settings.reducer
    functions = {"start program": problem.specification.run, f"without a model: {baseline}": baseline}
    scored = []
    for label, function in functions.items():
        verdict = score_function(problem, split, function)
        is_mean = reducer == "mean" and len(verdict.scores) > 1
        scored.append(
            {
                "split": split,
                "program": label,
                "score": reduced(verdict.scores, reducer),
                "scores": verdict.scores,
                "standard_error": standard_error(verdict.scores) if is_mean else None,
                "seconds": verdict.wall_s,
            }
        )
    return scored


def standard_error(scores: tuple[float, ...]) -> float:
    """Return the standard error of the mean of two scores or more."""
    return statistics.stdev(scores) / math.sqrt(len(scores))


_TIME_FACTOR = 10
"""Factor on the time limit of a candidate."""


def score_function(problem: Problem, split: Split, function: str) -> Verdict:
    """Evaluate a function of the specification, which has to score, in place of its run function on one split."""
    from overnight.flows.start.create_run import higher_limit

    limits = problem.settings.limits
    # Unlike a candidate, a baseline may search for a while, also on a busy machine.
    longer_limits = limits.model_copy(update={"wall_s": _TIME_FACTOR * limits.wall_s, "cpu_s": None})
    baseline_problem = replace(
        problem,
        specification=problem.specification.with_run(function),
        settings=problem.settings.model_copy(update={"thresholds": (), "limits": longer_limits}),
    )
    with open_sandboxes(baseline_problem, split, seed=0, run_id="baseline", isolation=False, programs=1) as sandbox:
        verdict = require_ran(sandbox.evaluate(problem.specification.start_program))
    if not verdict.is_scored:
        raise SpecificationError(
            f"`{function}` has no score: {verdict.outcome.value}: {verdict.error}",
            remedy=higher_limit(verdict, limits) or "It must return a number for each input.",
        )
    return verdict
