"""Objectives beside the score: what settings may say, and what programs need."""

from __future__ import annotations

from typing import Any

import pytest

from overnight.schemas.errors import UsageError
from overnight.schemas.objectives import Comparison, Objectives, conditions
from overnight.schemas.settings import parse_settings

BOTH = Objectives(metrics={"seconds": "minimize", "ratio": "maximize"}, limits={"mib": "<= 64", "score": "> 0"})

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"metrics": {"seconds": "up"}}, "objectives.metrics.seconds: Input should be 'minimize' or 'maximize', got 'up'"),
    ({"metrics": {"score": "minimize"}}, "the score is an objective always"),
    ({"preference": "pareto"}, "`pareto` needs objectives beside the score"),
    ({"preference": "fast"}, "Input should be 'score' or 'pareto'"),
    ({"limits": {"mib": "64"}}, "expected a comparison such as `<= 64`, got '64'"),
    ({"limits": {"mib": "<= nan"}}, "expected a comparison"),
    ({"limits": {"mib": "<= 1 GiB"}}, "expected a comparison"),
]


@pytest.mark.parametrize(("objectives", "says"), WRONG)
def test_wrong_objectives_are_named(objectives: dict[str, Any], says: str):
    with pytest.raises(UsageError) as raised:
        parse_settings({"objectives": objectives}, "overnight.toml")
    assert says in raised.value.message


def test_conditions_are_parsed():
    assert conditions("seconds<1, score >= 0.5") == {"seconds": Comparison("<", 1.0), "score": Comparison(">=", 0.5)}
    for wrong in ("", "seconds", "< 1", "seconds < 1,", "seconds = 1"):
        with pytest.raises(ValueError, match="expected"):
            conditions(wrong)
    with pytest.raises(ValueError, match="two on 'seconds'"):  # else the first would be forgotten
        conditions("seconds >= 1, seconds <= 2")


def test_a_program_needs_every_metric_that_is_named():
    said = BOTH.missing({"seconds": 1.0, "ratio": 2.0})
    assert (
        said == "expected the metric 'mib', which is an objective, on every input; got of every input: seconds, ratio"
    )
    assert BOTH.missing({"seconds": 1.0, "ratio": 2.0, "mib": 3.0, "other": 4.0}) == ""


def test_limits_are_of_metrics_and_of_the_score():
    assert BOTH.broken(1.0, {"mib": 64.0}) == ""
    assert BOTH.broken(0.0, {"mib": 65.0}) == "mib is 65, and its limit is <= 64; score is 0, and its limit is > 0"


def test_of_goals_higher_is_better():
    assert BOTH.goals(5.0, {"seconds": 1.0, "ratio": 2.0, "mib": 3.0}) == (5.0, -1.0, 2.0)


def test_where_the_front_is_searched_every_program_is_confirmed():
    metrics = {"metrics": {"seconds": "minimize"}}
    for preference, confirm, expected in (
        *(("score", "best", "best"), ("pareto", "best", "always")),
        *(("pareto", "never", "never"), ("pareto", "always", "always")),
    ):
        given = {"objectives": metrics | {"preference": preference}, "sandbox": {"confirm": confirm}}
        assert parse_settings(given, "x").confirmations == expected
