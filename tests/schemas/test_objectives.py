"""Objectives beside the score: what settings may say, and what programs need."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.errors import UsageError
from overnight.schemas.objectives import Comparison, Objectives, conditions
from overnight.schemas.program import Program
from overnight.schemas.settings import parse_settings

BOTH = Objectives(metrics={"seconds": "minimize", "ratio": "maximize"}, limits={"mib": "<= 64", "score": "> 0"})

IN_ORDER = {"metrics": {"seconds": "minimize", "mib": "minimize"}, "preference": "lexicographic"}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"metrics": {"seconds": "up"}}, "objectives.metrics.seconds: Input should be 'minimize' or 'maximize', got 'up'"),
    ({"metrics": {"score": "minimize"}}, "the score is an objective always"),
    ({"preference": "pareto"}, "`pareto` needs objectives beside the score"),
    ({"preference": "lexicographic"}, "`lexicographic` needs objectives beside the score"),
    ({"preference": "fast"}, "Input should be 'score', 'lexicographic' or 'pareto'"),
    ({"metrics": {"seconds": "minimize"}, "tolerance": {"score": 1}}, 'needs preference = "lexicographic"'),
    (IN_ORDER | {"tolerance": {"mb": 1}}, "`tolerance` is of score and the metrics that are objectives, got 'mb'"),
    (IN_ORDER | {"tolerance": {"score": -1}}, "objectives.tolerance.score: Input should be greater than or equal to 0"),
    (IN_ORDER | {"tolerance": {"score": math.nan}}, "Input should be a finite number"),
    ({"limits": {"mib": "<= nan"}}, "expected a comparison"),
    ({"limits": {"mib": "<= 1 GiB"}}, "expected a comparison"),
]


@pytest.mark.parametrize(("objectives", "says"), WRONG)
def test_wrong_objectives_are_named(objectives: dict[str, Any], says: str):
    with pytest.raises(UsageError) as raised:
        parse_settings({"objectives": objectives}, "overnight.toml")
    assert says in raised.value.message


def test_what_is_wrong_and_what_was_given_is_said_once():
    with pytest.raises(UsageError) as raised:
        parse_settings({"objectives": {"limits": {"mib": "64"}}}, "overnight.toml")
    assert raised.value.message.endswith("mib: expected a comparison such as `<= 64`, got '64'")
    assert "Value error" not in raised.value.message


def test_conditions_are_parsed():
    assert conditions("seconds<1, score >= 0.5") == {"seconds": Comparison("<", 1.0), "score": Comparison(">=", 0.5)}
    for wrong in ("", "seconds", "< 1", "seconds < 1,", "seconds = 1"):
        with pytest.raises(ValueError, match="expected"):
            conditions(wrong)
    with pytest.raises(ValueError, match="two on 'seconds'"):  # else the first would be forgotten
        conditions("seconds >= 1, seconds <= 2")


def test_a_program_needs_every_metric_that_is_named():
    said = BOTH.missing({"seconds": 1.0, "ratio": 2.0})
    assert said == "expected the metric 'mib', which has a limit, on every input; got of every input: seconds, ratio"
    assert BOTH.missing({"mib": 3.0}).startswith("expected the metric 'seconds', which is an objective,")
    assert BOTH.missing({"seconds": 1.0, "ratio": 2.0, "mib": 3.0, "other": 4.0}) == ""


def test_limits_are_of_metrics_and_of_the_score():
    assert BOTH.broken(1.0, {"mib": 64.0}) == ""
    assert BOTH.broken(0.0, {"mib": 65.0}) == "mib is 65, and its limit is <= 64; score is 0, and its limit is > 0"


def program(score: float, seconds: float, mib: float) -> Program:
    return Program(f"{score} {seconds} {mib}", "", (score,), score, metrics={"seconds": seconds, "mib": mib})


@pytest.mark.parametrize(
    ("tolerance", "expected"),
    [
        ({}, (10.0, 9.0, 1.0)),
        ({"score": 0.5}, (9.5, 2.0, 5.0)),
        ({"score": 0.5, "seconds": 1.0}, (9.8, 3.0, 1.0)),
        ({"score": 0.5, "seconds": 9.0}, (10.0, 9.0, 1.0)),
        ({"score": 1.0}, (9.1, 1.0, 7.0)),
    ],
)
def test_objectives_choose_in_their_order_each_of_what_is_within_a_tolerance(
    tolerance: dict[str, float], expected: tuple[float, float, float]
):
    points = [(9.1, 1.0, 7.0), (9.5, 2.0, 6.0), (9.5, 2.0, 5.0), (9.8, 3.0, 1.0), (10.0, 9.0, 1.0), (10.0, 9.0, 1.0)]
    programs = [program(*point) for point in points]
    objectives = Objectives.model_validate(IN_ORDER | {"tolerance": tolerance})
    assert objectives.best(programs) is programs[points.index(expected)]
    ranked = objectives.ranked(programs, 4)
    assert ranked[0] is programs[points.index(expected)]
    assert len({id(one) for one in ranked}) == 4


@given(st.lists(st.tuples(*[st.integers(0, 4).map(float)] * 3), min_size=1, max_size=12), st.integers(0, 2))
def test_what_the_objectives_choose_is_dominated_by_no_program(points: list[tuple[float, float, float]], most: int):
    objectives = Objectives.model_validate(IN_ORDER | {"tolerance": {"score": most, "seconds": most}})
    best = objectives.goals(*of(objectives.best(program(*point) for point in points)))
    others = [objectives.goals(*of(program(*point))) for point in points]
    assert not any(one != best and all(map(operator.ge, one, best)) for one in others)


def of(one: Program) -> tuple[float, Mapping[str, float]]:
    return one.score, one.metrics


def test_where_the_score_alone_counts_the_first_of_the_best_scores_is_the_best():
    programs = [program(1.0, 5.0, 0.0), program(2.0, 9.0, 0.0), program(2.0, 1.0, 0.0)]
    for objectives in (Objectives(), Objectives(metrics={"seconds": "minimize"}, preference="pareto")):
        assert objectives.best(programs) is programs[1]
        assert objectives.ranked(programs, 2) == [programs[1], programs[2]]


def test_of_goals_higher_is_better():
    assert BOTH.goals(5.0, {"seconds": 1.0, "ratio": 2.0, "mib": 3.0}) == (5.0, -1.0, 2.0)


def test_where_the_front_is_searched_every_program_is_confirmed():
    metrics = {"metrics": {"seconds": "minimize"}}
    for preference, confirm, expected in (
        *(("score", "best", "best"), ("pareto", "best", "always")),
        ("lexicographic", "best", "always"),
        *(("pareto", "never", "never"), ("pareto", "always", "always")),
    ):
        given = {"objectives": metrics | {"preference": preference}, "sandbox": {"confirm": confirm}}
        assert parse_settings(given, "x").confirmations == expected
