"""Say in a prompt what a program scored, on which inputs, and what the score is compared with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from overnight.schemas.algorithm import Plan
from overnight.schemas.limits_settings import Limits
from overnight.schemas.objectives import Objectives
from overnight.schemas.problem import Problem
from overnight.schemas.program import MEASURED, Program
from overnight.schemas.scores import are_level, score_text
from overnight.schemas.settings import Settings

_MAX_SCORES, _LOWEST = 12, 3
"""Inputs whose scores are listed in order, and of more inputs, the lowest scores that are listed, too."""

_LEAST_SAMPLE, _ERRORS = 4, 2.0
"""Inputs from which on chance is reckoned with, and standard errors of a mean difference below which it is told."""

_NEAR = 0.8
"""Share of the time limit from which on a prompt says that little is left."""

_MUCH = 0.2
"""Share of the processor time from which on a prompt tells how much of it is for loading the program."""

_NEAR_KNOWN = 0.01
"""Part of the best known score by which a score may differ for the difference to be told."""


def score_note(
    program: Program, metrics: Mapping[str, float], plan: Plan, settings: Settings, *, is_sample: bool = False
) -> str:
    """Return what a prompt says of a program's score and metrics, and what the score is compared with.

    `is_sample` is whether other inputs decide, so that a small difference may be chance.
    """
    base, best, known = plan.base, plan.best, settings.known.best
    rivals = [*(one.score for one in (*plan.shown, *filter(None, [best]))), *([] if known is None else [known])]
    parts = [f"scores {score_text(program.score, *rivals)}"]
    if best and program.id == best.id:
        parts.append("the best of this search")
    if program.id != base.id:
        doubt = _doubt(program, base) if is_sample and settings.reducer == "mean" else ""
        parts.append(_compared(program.score, base.score, "the last version", settings.noise) + doubt)
    elif best:
        beside = beside_score(best.metrics, settings.objectives)
        reference = f"the best of this search, {score_text(best.score, *rivals)}{beside and f' with {beside}'}"
        parts.append(_compared(program.score, best.score, reference, settings.noise))
    if program.id == base.id and known is not None and abs(program.score - known) <= _NEAR_KNOWN * abs(known):
        parts.append(_compared(program.score, known, "the best known score", settings.noise))
    scores = format_scores(program.scores, base.scores)
    on_inputs = f"; on the inputs, in order: {scores}" if len(program.scores) > 1 else ""
    return ", ".join(parts) + on_inputs + (f"; {format_metrics(metrics)}" if metrics else "")


def _doubt(program: Program, other: Program) -> str:
    """Return that other inputs may turn a difference round: it is less than two standard errors; else empty."""
    differences = [one - two for one, two in zip(program.scores, other.scores, strict=False)]
    if len(differences) < _LEAST_SAMPLE or program.score == other.score:
        return ""
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return (
        ", and on other inputs it may be the other way round"
        if abs(statistics.fmean(differences)) < _ERRORS * error
        else ""
    )


def _compared(score: float, other: float, reference: str, noise: float) -> str:
    """Return how a score compares with that of a reference, in words."""
    if are_level(score, other, noise):
        return f"the same as {reference}"
    return f"{_difference(abs(score - other))} {'more' if score > other else 'less'} than {reference}"


def _difference(value: float) -> str:
    """Return a difference with 3 significant digits, or as many more as it has before the point."""
    digits = 3 if value < 1 else min(15, max(3, int(math.log10(value)) + 1))
    return f"{value:.{digits}g}"


def told_metrics(program: Program, problem: Problem) -> Mapping[str, float]:
    """Return the metrics that a prompt tells: all that a specification returns, and those of a command that count.

    A command's other numbers are often seconds, which would make the prompts of a replay differ.
    """
    counted = {*problem.settings.objectives.metrics, *problem.settings.objectives.limits}
    tells_all = bool(problem.specification.run)
    return {name: value for name, value in program.metrics.items() if tells_all or name in counted}


def beside_score(metrics: Mapping[str, float], objectives: Objectives) -> str:
    """Return what a program has in the objectives beside the score; empty without any."""
    return format_metrics({name: metrics[name] for name in objectives.metrics if name in metrics})


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Return metrics to 6 significant digits; of many, the first."""
    texts = [f"{name} {value:.6g}" for name, value in list(metrics.items())[:_MAX_SCORES]]
    return ", ".join([*texts, "…"] if len(metrics) > _MAX_SCORES else texts)


def format_scores(scores: Sequence[float], others: Sequence[float] = ()) -> str:
    """Return scores with as many digits as tell them from others on the same inputs; of many, the first and lowest."""
    pairs = zip_longest(scores[:_MAX_SCORES], others[:_MAX_SCORES])
    texts = [score_text(score, *filter(None, [other])) for score, other in pairs if score is not None]
    if len(scores) <= _MAX_SCORES:
        return ", ".join(texts)
    lowest = sorted(range(len(scores)), key=scores.__getitem__)[:_LOWEST]
    worst = ", ".join(f"{score_text(scores[place])} on input {place + 1}" for place in lowest)
    return f"{', '.join(texts)}, …, and the lowest of all {len(scores)}: {worst}"


def measured_line(program: Program, limits: Limits) -> str:
    """Return what a program took beside the limits, as a line that `without_measured` removes; empty if unknown."""
    if not program.cpu_s:
        return ""
    several, most = len(program.scores) > 1, program.cpu_s
    seconds = f"{_rounded(program.cpu_s)} s of processor time" + (" for all inputs together" if several else "")
    in_inputs = sum(program.input_wall_s)
    if several and len(program.input_wall_s) == len(program.scores) and in_inputs:
        longest = max(range(len(program.scores)), key=program.input_wall_s.__getitem__)
        loading = max(0.0, program.cpu_s - in_inputs)
        of_longest = (program.cpu_s - loading) * program.input_wall_s[longest] / in_inputs
        most = loading + of_longest
        loaded = f"{_rounded(loading)} s of it for loading it, " if loading > _MUCH * program.cpu_s else ""
        of_it = "" if loaded else " of it"
        seconds += f", {loaded}{_rounded(of_longest)} s{of_it} for input {longest + 1}, the longest,"
    elif several:
        most = 0.0  # of one input, it is unknown
    memory = f" and {_rounded(program.peak_mib)} MiB of memory" if program.peak_mib else ""
    allowed = f"{limits.wall_s:g} s{' for each input' if several else ''} and {limits.memory_mib} MiB"
    near = ": little is left, and on a busier day it may take longer" if most >= _NEAR * limits.wall_s else ""
    return f"{MEASURED} the last version took {seconds}{memory}; allowed are {allowed}{near}."


def _rounded(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"
