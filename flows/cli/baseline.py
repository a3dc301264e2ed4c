"""`overnight baseline`: what can be had without any model, computed where it can be."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.options import Image, Runtime, TrustSettings, overrides
from flows.cli.printing import out, say, score, table
from schemas.errors import UsageError

if TYPE_CHECKING:
    from schemas.problem import Problem, Split


def baseline(
    problem: Annotated[str, Parameter(help="a name from `overnight problems`, or a specification file")],
    /,
    *,
    inputs: Annotated[str | None, Parameter(help="training inputs as JSON, in place of the specification's")] = None,
    image: Image = None,
    runtime: Runtime = None,
    set: Annotated[list[str] | None, Parameter(help="any setting, as key=value; repeatable")] = None,  # noqa: A002
    trust_settings: TrustSettings = False,
) -> None:
    """Compute what can be had without any model, on each split, beside the start program and what is known."""
    from flows.images import image_of
    from flows.trust import accept
    from schemas.problem import load_problem
    from tasks.problems import find

    given = overrides(None, None, None, inputs, set, image=image, runtime=runtime)
    loaded = load_problem(find(problem), given)
    known = loaded.settings.known
    if not known.baseline:
        line = f"; its line is {score(known.honesty)}: {known.honesty_label}" if known.honesty is not None else ""
        raise UsageError(
            f"nothing computes what {loaded.name} gives without a model{line}",
            remedy="Write a function that does, for one input, and name it: known.baseline in [tool.overnight].",
        )
    accept(loaded, given, trust=trust_settings)
    image_of(loaded, say)
    splits: tuple[Split, ...] = ("train", "validation", "held_out")
    rows = [row for split in splits if loaded.inputs[split] for row in _rows(loaded, split)]
    columns = ("inputs", "program", loaded.settings.reducer, "± (95 %)", "seconds")
    title = f"{loaded.settings.title or loaded.name}: {loaded.settings.score_name}"
    out().print(table(columns, rows, right=columns[2:], title=title))
    if known.honesty is not None:
        say(f"written down: {score(known.honesty)}, {known.honesty_label}")


def _rows(problem: Problem, split: Split) -> list[tuple[str, ...]]:
    """The start program's score and the baseline's."""
    from flows.baseline import score_function
    from schemas.program import reduced
    from schemas.specification import Specification

    assert isinstance(problem.specification, Specification)
    baseline, reducer = problem.settings.known.baseline, problem.settings.reducer
    functions = {"start program": problem.specification.run, f"without a model: {baseline}": baseline}
    rows = []
    for label, function in functions.items():
        verdict = score_function(problem, split, function)
        has_width = reducer == "mean" and len(verdict.scores) > 1
        width = score(half_width(verdict.scores)) if has_width else ""
        rows.append((split, label, score(reduced(verdict.scores, reducer)), width, f"{verdict.wall_s:.2f}"))
    return rows


def half_width(scores: tuple[float, ...]) -> float:
    """Half of the 95 % confidence interval of the mean, as if it were normal; two scores at least."""
    return 1.96 * statistics.stdev(scores) / math.sqrt(len(scores))
