"""Scores of a program: those of its inputs reduced to one, and whether they count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from overnight.schemas.objectives import Objectives
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.settings import Reducer

_ROUNDING = 1e-9
"""Part of a score by which rounding may change it."""

_TINY = 1e-12
"""Difference that is rounding whatever the scores are."""

_DIGITS, _MOST_DIGITS = 6, 17
"""Significant digits of a score in a prompt, and the most of them: all that a float has."""


def are_level(one: float, other: float, noise: float = 0.0) -> bool:
    """Return whether two scores are the same within rounding and a problem's noise."""
    return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=max(_TINY, noise))


def score_text(score: float, *others: float) -> str:
    """Return a score with 6 significant digits, or as many more as tell it from other scores, such as the best."""
    digits, rivals = _DIGITS, [other for other in others if not are_level(score, other)]
    while digits < _MOST_DIGITS and f"{score:.{digits}g}" in [f"{other:.{digits}g}" for other in rivals]:
        digits += 1
    return f"{score:.{digits}g}"


def with_score(
    verdict: Verdict, reducer: Reducer, objectives: Objectives
) -> tuple[Verdict, float | None, dict[str, float]]:
    """Return a verdict with its reduced score and metrics, or what it is where these do not count.

    Finite scores whose sum is infinite are a bad score, and so is a program without a metric that is an objective; one
    that breaks a limit is over it.
    """
    if not verdict.is_scored:
        return verdict, None, {}
    score, metrics = reduced(verdict.scores, reducer), reduced_metrics(verdict.metrics, reducer)
    if score is None:
        outcome = Outcome.BAD_SCORE
        error = f"expected finite scores, got ones whose {reducer} is too large for a float"
    elif error := objectives.missing(metrics):
        outcome = Outcome.BAD_SCORE
    elif error := objectives.broken(score, metrics):
        outcome = Outcome.OVER_LIMIT
    else:
        return verdict, score, metrics
    return replace(verdict, outcome=outcome, scores=(), error=error), None, metrics


def reduced_metrics(metrics: Mapping[str, Sequence[float | None]], reducer: Reducer) -> dict[str, float]:
    """Reduce each metric to one number; those are left out that an input lacks, or whose sum is not finite."""
    whole = {name: [one for one in values if one is not None] for name, values in metrics.items() if None not in values}
    return {name: value for name, values in whole.items() if (value := reduced(values, reducer)) is not None}


def reduced(scores: Sequence[float], reducer: Reducer) -> float | None:
    """Reduce scores to one; `None` without scores, or where the result is not a finite number."""
    try:
        score = reduce_scores(scores, reducer) if scores else math.nan
    except OverflowError:
        return None
    return score if math.isfinite(score) else None


def reduce_scores(scores: Sequence[float], reducer: Reducer) -> float:
    """Reduce the scores of all inputs to one. FunSearch's paper says `mean`, its public code takes the `last`."""
    match reducer:
        case "mean":
            return math.fsum(scores) / len(scores)
        case "last":
            return scores[-1]
        case "min":
            return min(scores)
        case "sum":
            return math.fsum(scores)
