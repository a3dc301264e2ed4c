"""Objectives of a search beside the score: metrics to minimize or maximize, and limits on metrics."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from overnight.schemas.section import Section

SCORE = "score"
"""Name of the score among metrics."""

Direction = Literal["minimize", "maximize"]

_SIGN: dict[Direction, float] = {"minimize": -1.0, "maximize": 1.0}
"""Factor of a metric that makes higher better."""

_SIGNS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
_COMPARISON = re.compile(r"\s*(<=|<|>=|>)\s*(\S+)\s*")


@dataclass(frozen=True)
class Comparison:
    """A comparison of a metric with a number, such as `<= 64`."""

    sign: str
    number: float

    def __str__(self) -> str:
        return f"{self.sign} {self.number:g}"

    def holds(self, value: float) -> bool:
        return _SIGNS[self.sign](value, self.number)


def comparison(text: str) -> Comparison:
    """Parse a comparison; raise a ValueError if it is none."""
    found = _COMPARISON.fullmatch(text)
    try:
        number = float(found[2]) if found else math.nan
    except ValueError:
        number = math.nan
    if not found or not math.isfinite(number):
        raise ValueError(f"expected a comparison such as `<= 64`, got {text[:100]!r}")
    return Comparison(found[1], number)


def conditions(text: str) -> dict[str, Comparison]:
    """Parse conditions on metrics, such as `seconds < 1, score >= 0.5`; raise a ValueError if a part is none."""
    found = {}
    for part in text.split(","):
        name = re.split("[<>]", part, maxsplit=1)[0]
        if not name.strip() or name == part:
            raise ValueError(f"expected conditions such as `seconds < 1, score >= 0.5`, got {text[:100]!r}")
        if name.strip() in found:
            raise ValueError(f"expected one condition on each metric, got two on {name.strip()[:100]!r}")
        found[name.strip()] = comparison(part[len(name) :])
    return found


def are_met(wanted: Mapping[str, Comparison], score: float, metrics: Mapping[str, float]) -> bool:
    """Return whether a program meets conditions; it does not where it lacks a metric."""
    values = {**metrics, SCORE: score}
    return all(name in values and one.holds(values[name]) for name, one in wanted.items())


def _as_comparison(text: str) -> str:
    comparison(text)
    return text


def as_target(value: object) -> object:
    """Return a score as a number, and conditions as they are written, after a check."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        conditions(value)
    return value


def _is_not_gone(value: object) -> object:
    if value == "lexicographic":
        raise ValueError(
            'there is no preference "lexicographic" any more; set limits on the metrics, such as '
            'limits = {seconds = "<= 1"}, or preference = "pareto", got \'lexicographic\''
        )
    return value


class Objectives(Section):
    """Objectives beside the score, `[tool.overnight.objectives]`."""

    metrics: dict[str, Direction] = Field(default={})
    """metrics that are objectives beside the score, each with its direction, such as `{seconds = "minimize"}`:
    `minimize` or `maximize`; a program without one of them has no score"""
    limits: dict[str, Annotated[str, AfterValidator(_as_comparison)]] = Field(default={})
    """limits on metrics of a program, reduced as its scores are, such as `{memory_mib = "<= 64"}`; a program that
    breaks one is `over_limit` and has no score"""
    preference: Annotated[Literal["score", "pareto"], BeforeValidator(_is_not_gone)] = "score"
    """how the objectives count: with `score`, the search looks at the score alone, and the front is for you; with
    `pareto`, all of the front is looked for: a share of the prompts builds on a program of it, and every program is
    confirmed before it counts (`sandbox.confirm` of `best` means `always`)"""
    share: float = Field(default=0.5, ge=0, le=1)
    """with `pareto`: share of the prompts that build on a program of the front, drawn by weights of the objectives;
    the others build on what the algorithm chooses"""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if SCORE in self.metrics:
            raise ValueError(
                "the score is an objective always, and the higher, the better: leave it out of the metrics"
            )
        if self.searches_front and not self.metrics:
            raise ValueError('`pareto` needs objectives beside the score, such as metrics = {seconds = "minimize"}')
        return self

    @property
    def searches_front(self) -> bool:
        """Whether prompts build on programs of the front."""
        return self.preference == "pareto"

    def missing(self, metrics: Mapping[str, float]) -> str:
        """Return what a program's metrics lack, in words; empty if nothing."""
        lacking = [name for name in (*self.metrics, *self.limits) if name not in metrics and name != SCORE]
        if not lacking:
            return ""
        what = "is an objective" if lacking[0] in self.metrics else "has a limit"
        given = ", ".join(metrics) or "none"
        return f"expected the metric {lacking[0]!r}, which {what}, on every input; got of every input: {given}"

    def broken(self, score: float, metrics: Mapping[str, float]) -> str:
        """Return the limits that a program breaks, in words; empty if none."""
        values = {**metrics, SCORE: score}
        broken = [
            f"{name} is {values[name]:g}, and its limit is {text}"
            for name, text in self.limits.items()
            if not comparison(text).holds(values[name])
        ]
        return "; ".join(broken)

    def changes(self, metrics: Mapping[str, float], before: Mapping[str, float]) -> dict[str, bool]:
        """Return the objectives beside the score in which two programs differ, and whether the first one is better."""
        both = [name for name in self.metrics if name in metrics and name in before and metrics[name] != before[name]]
        return {name: _SIGN[self.metrics[name]] * (metrics[name] - before[name]) > 0 for name in both}

    def compared(self, metrics: Mapping[str, float], before: Mapping[str, float]) -> str:
        """Return what a program has in the objectives beside the score, and what another had, in words."""
        both = [(name, metrics[name], before[name]) for name in self.metrics if name in metrics and name in before]
        texts = [
            (f"{name} {new:.6g}", f", before {old:.6g}" if new != old else " as before") for name, new, old in both
        ]
        return ", ".join(map("".join, texts))

    def goals(self, score: float, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return the score and the objectives, all such that higher is better."""
        return (score, *(_SIGN[direction] * metrics[name] for name, direction in self.metrics.items()))


NO_OBJECTIVES = Objectives()
"""Objectives of a problem where the score alone counts."""
