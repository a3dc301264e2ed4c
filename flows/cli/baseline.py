"""`overnight baseline`: compute the score that a problem allows without a model."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from flows.cli.options import Image, Inputs, ProblemName, Runtime, Sets, TrustSettings, overrides
from flows.cli.printing import OutputFormat, out, say, score, table, write_json
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
    format: OutputFormat = "text",  # noqa: A002
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
    facts = [each for split in splits if loaded.inputs[split] for each in _scored(loaded, split)]
    if format == "json":
        recorded = {"score": known.honesty, "held_out": known.honesty_held_out, "label": known.honesty_label}
        write_json({"score_name": loaded.settings.score_name, "results": facts, "recorded": recorded})
        return
    rows = [
        (
            *(each["split"], each["program"], score(each["score"])),
            "" if each["half_width"] is None else score(each["half_width"]),
            f"{each['seconds']:.2f}",
        )
        for each in facts
    ]
    columns = ("inputs", "program", loaded.settings.reducer, "± (95 %)", "seconds")
    title = f"{loaded.settings.title or loaded.name}: {loaded.settings.score_name}"
    out().print(table(columns, rows, right=columns[2:], title=title))
    if known.honesty is not None:
        say(f"recorded in the specification: {score(known.honesty)}, {known.honesty_label}")


def _scored(problem: Problem, split: Split) -> list[dict[str, Any]]:
    """Return the scores of the start program and of the baseline on one split, as plain data."""
    from flows.baseline import score_function
    from schemas.program import reduced

    baseline, reducer = problem.settings.known.baseline, problem.settings.reducer
    functions = {"start program": problem.specification.run, f"without a model: {baseline}": baseline}
    scored = []
    for label, function in functions.items():
        verdict = score_function(problem, split, function)
        has_interval = reducer == "mean" and len(verdict.scores) > 1
        scored.append(
            {
                "split": split,
                "program": label,
                "score": reduced(verdict.scores, reducer),
                "scores": verdict.scores,
                "half_width": half_width(verdict.scores) if has_interval else None,
                "seconds": verdict.wall_s,
            }
        )
    return scored


def half_width(scores: tuple[float, ...]) -> float:
    """Return half the width of the mean's 95 % confidence interval, assuming a normal distribution.

    Args:
        scores: At least two scores.
    """
    return 1.96 * statistics.stdev(scores) / math.sqrt(len(scores))
