"""Write the facts of a task that chat models and agents are told, the same in every prompt."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from overnight.schemas.objectives import Objectives
from overnight.schemas.problem import Problem
from overnight.schemas.program import Program
from overnight.schemas.settings import Known, Reducer, Sandbox
from overnight.tasks.sample.codecs import templates

_REDUCED: dict[Reducer, str] = {
    "mean": "It is the mean of the scores on {count} inputs.",
    "min": "It is the lowest of the scores on {count} inputs.",
    "sum": "It is the sum of the scores on {count} inputs.",
    "last": "It is the score on the last of {count} inputs.",
}


_LARGE_INPUT = 20
"""Values of an input from which on its size is told."""


_MAX_INPUTS_CHARS = 300
"""Most characters of all inputs together that a prompt tells."""


_MAX_SHARED_CHARS = 40
"""Most characters of an argument that all inputs have in common."""


_MAX_SCORING_CHARS = 6_000
"""Most characters of the code that scores programs that a prompt tells."""


def _objectives_in_words(objectives: Objectives) -> str:
    """Return what counts beside the score; empty if nothing."""
    wanted = [f"{'less' if how == 'minimize' else 'more'} `{name}`" for name, how in objectives.metrics.items()]
    limits = [f"`{name}` has to be {limit}" for name, limit in objectives.limits.items()]
    kept = "programs are kept that no other one equals or beats in all of these"
    parts = [f"{' and '.join(wanted)} count{'s' if len(wanted) == 1 else ''}, too: {kept}"] if wanted else []
    return "; ".join([*parts, *limits])


def system_message(problem: Problem, start: Program | None = None) -> str:
    """Return the facts of a task; it is the same for all prompts of a run, so that providers can cache it."""
    settings, count = problem.settings, len(problem.inputs["train"])
    known = settings.known
    return (
        templates()
        .get_template("system.jinja")
        .render(
            wanted=settings.statement or problem.specification.docstring,
            score_name=settings.score_name,
            reduced=_REDUCED[settings.reducer].format(count=count) if count > 1 else "",
            size=_size_in_words(problem),
            noise=f"{settings.noise:.3g}" if settings.noise else "",
            start=_start_in_words(start, settings.reducer, known.best) if start and start.is_scored else "",
            objectives=_objectives_in_words(settings.objectives),
            count=count,
            chosen_on=len(problem.inputs["validation"]),
            reported_on=len(problem.inputs["held_out"]),
            is_confirmed=settings.sandbox.confirm != "never",
            keeps_state=settings.state == "calls",
            has_calls=bool(problem.specification.run),
            inputs=inputs_in_words(problem),
            scoring=_scoring(problem),
            known=_known_in_words(problem),
            is_proven=known.proven,
            honesty=_honesty_in_words(known),
            seconds=f"{settings.limits.wall_s:g}",
            memory_mib=settings.limits.memory_mib,
            packages=packages_in_words(problem) if problem.specification.language == "python" else None,
        )
        .strip()
    )


def _known_in_words(problem: Problem) -> str:
    """Return the best known score, with whose it is, and whether it is of other inputs."""
    known = problem.settings.known
    if known.best is None:
        return ""
    where = " on other inputs" if known.split != "train" or problem.has_other_inputs else ""
    return f"{known.best:.15g}{where}" + (f" ({known.label})" if known.label else "")


def _honesty_in_words(known: Known) -> str:
    """Return what is reached without a model; empty if it is unknown."""
    if known.honesty is None:
        return ""
    return f"{known.honesty:.15g} is reached without a language model" + (
        f" ({known.honesty_label})" if known.honesty_label else ""
    )


def _start_in_words(start: Program, reducer: Reducer, known: float | None) -> str:
    """Return what the start program's evaluation says of the score: its level, and its step where that is whole.

    Its scores may be whole by chance, where all are the same, or the best known score is no mean of whole numbers.
    """
    low, high, count = min(start.scores), max(start.scores), len(start.scores)
    spread = f", on single inputs {low:.6g} to {high:.6g}" if low < high else ""
    is_whole = low < high and reducer == "mean" and all(score.is_integer() for score in start.scores)
    is_whole = is_whole and (known is None or math.isclose(known * count, round(known * count), abs_tol=1e-6))
    step = f"; scores on an input are whole numbers there, and 1 on one input is {1 / count:.3g}" if is_whole else ""
    return f"The start program scores {start.score:.6g}{spread}{step}.{_calls_in_words(start.calls)}"


def _calls_in_words(calls: Sequence[int]) -> str:
    """Return how often a program was called on an input; empty where it was once at most, or is unknown."""
    low, high = min(calls, default=0), max(calls, default=0)
    if high <= 1:
        return ""
    return f" On an input, {f'{low:,} to {high:,}' if low < high else f'{high:,}'} calls are made of what you improve."


def _size_in_words(problem: Problem) -> str:
    """Return how large the inputs are, without what they hold; empty where they are a few values."""
    sizes = [_values_in([*call.args, *call.kwargs.values()]) for call in problem.inputs["train"]]
    low, high = min(sizes, default=0), max(sizes, default=0)
    if high < _LARGE_INPUT:
        return ""
    return f"An input holds {f'{low} to {high}' if low < high else high} values."


def _values_in(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_values_in, value.values()))
    return sum(map(_values_in, value)) if isinstance(value, list | tuple) else 1


def _scoring(problem: Problem) -> str:
    """Return the code that scores programs; empty where it is long, or may not be told."""
    text = problem.specification.scoring if problem.settings.show_scoring else ""
    return text if len(text) <= _MAX_SCORING_CHARS else ""


def _shared_in_words(problem: Problem) -> str:
    """Return the arguments that all inputs have in common, those that the search never sees, too.

    It is empty without any, and where inputs differ in nothing, which would tell all of them.
    """
    calls, run = [call for split in problem.inputs.values() for call in split], problem.specification.run
    if not run or len({(len(call.args), *call.kwargs) for call in calls}) != 1:
        return ""
    pairs = [("", [call.args[place] for call in calls]) for place in range(len(calls[0].args))]
    pairs += [(f"{name}=", [call.kwargs[name] for call in calls]) for name in calls[0].kwargs]
    shared = [_shared_value(values) for _, values in pairs]
    if "…" not in shared or set(shared) == {"…"}:
        return ""
    told = ", ".join(name + value for (name, _), value in zip(pairs, shared, strict=True))
    return f"An input is a call `{run}({told})`, of which only … differs."


def _shared_value(values: Sequence[Any]) -> str:
    """Return the number or text that all values are; else three dots."""
    first, *others = (repr(value) if isinstance(value, int | float | str) else "…" for value in values)
    return first if len(first) <= _MAX_SHARED_CHARS and all(one == first for one in others) else "…"


def inputs_in_words(problem: Problem) -> str:
    """Return the training inputs, where they are a few values and no others decide, else what all have in common."""
    calls = problem.inputs["train"]
    if problem.inputs["validation"] or problem.inputs["held_out"]:
        return _shared_in_words(problem)
    values = [dict(call.kwargs) or (call.args[0] if len(call.args) == 1 else list(call.args)) for call in calls]
    text = ", ".join(json.dumps(value, ensure_ascii=False) for value in values)
    is_small = len(text) <= _MAX_INPUTS_CHARS and max(map(_values_in, values), default=0) < _LARGE_INPUT
    if not problem.settings.show_inputs or not is_small:
        return ""
    return f"The inputs are {text}, in this order." if len(values) > 1 else f"The input is {text}."


def packages_in_words(problem: Problem) -> str:
    """Return the packages besides the standard library that programs may import; empty if none are known."""
    numpy = ["numpy"] if problem.settings.sandbox.image == Sandbox().image else []
    names = list(dict.fromkeys([*problem.dependencies.packages, *numpy]))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
