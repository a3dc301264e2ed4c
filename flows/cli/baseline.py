"""`overnight baseline`: compute the score that a problem allows without a model."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from flows.cli.options import Image, Inputs, ProblemName, Runtime, Sets, TrustSettings, overrides
from flows.cli.printing import out, say, score, table
from schemas.errors import UsageError

if TYPE_CHECKING:
    from schemas.problem import Problem, Split


def baseline(
    problem: ProblemName,
    /,
    *,
    inputs: Inputs = None,
    image: Image = None,
    runtime: Runtime = None,
    set: Sets = None,  # noqa: A002
    trust_settings: TrustSettings = False,
) -> None:
    """Compute the score without a model on each split, next to the scores of the start program and the known ones."""
    from flows.images import image_of
    from flows.trust import accept
    from tasks.problems import find
    from tasks.problems.loading.load import load_problem

    given = overrides(None, None, None, inputs, set, image=image, runtime=runtime)
    loaded = load_problem(find(problem), given)
    known = loaded.settings.known
    if not known.baseline:
        recorded = (
            f"; the recorded one is {score(known.honesty)}: {known.honesty_label}" if known.honesty is not None else ""
        )
        raise UsageError(
            f"{loaded.name} has no function that computes a score without a model{recorded}",
            remedy="Write a function that computes it for one input; name it in known.baseline of [tool.overnight].",
        )
    accept(loaded, given, trust=trust_settings)
    image_of(loaded, say)
    splits: tuple[Split, ...] = ("train", "validation", "held_out")
    rows = [row for split in splits if loaded.inputs[split] for row in _rows(loaded, split)]
    columns = ("inputs", "program", loaded.settings.reducer, "± (95 %)", "seconds")
    title = f"{loaded.settings.title or loaded.name}: {loaded.settings.score_name}"
    out().print(table(columns, rows, right=columns[2:], title=title))
    if known.honesty is not None:
        say(f"recorded in the specification: {score(known.honesty)}, {known.honesty_label}")


def _rows(problem: Problem, split: Split) -> list[tuple[str, ...]]:
    """Return the table rows of the start program and of the baseline on one split."""
    from flows.baseline import score_function
    from schemas.program import reduced

    baseline, reducer = problem.settings.known.baseline, problem.settings.reducer
    functions = {"start program": problem.specification.run, f"without a model: {baseline}": baseline}
    rows = []
    for label, function in functions.items():
        verdict = score_function(problem, split, function)
        has_interval = reducer == "mean" and len(verdict.scores) > 1
        interval = score(half_width(verdict.scores)) if has_interval else ""
        rows.append((split, label, score(reduced(verdict.scores, reducer)), interval, f"{verdict.wall_s:.2f}"))
    return rows


def half_width(scores: tuple[float, ...]) -> float:
    """Return half the width of the mean's 95 % confidence interval, assuming a normal distribution.

    Args:
        scores: At least two scores.
    """
    return 1.96 * statistics.stdev(scores) / math.sqrt(len(scores))
