"""Objectives beside the score: what settings may say, and what programs need."""

from __future__ import annotations

from typing import Any

import pytest

from overnight.schemas.errors import UsageError
from overnight.schemas.objectives import Comparison, Objectives, conditions
from overnight.schemas.program import Program, best_of
from overnight.schemas.settings import parse_settings

BOTH = Objectives(metrics={"seconds": "minimize", "ratio": "maximize"}, limits={"mib": "<= 64", "score": "> 0"})

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"metrics": {"seconds": "up"}}, "objectives.metrics.seconds: Input should be 'minimize' or 'maximize', got 'up'"),
    ({"metrics": {"score": "minimize"}}, "the score is an objective always"),
    ({"preference": "pareto"}, "`pareto` needs objectives beside the score"),
    ({"preference": "fast"}, "Input should be 'score' or 'pareto'"),
    ({"preference": "lexicographic"}, 'no preference "lexicographic" any more; set limits on the metrics, such as'),
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


def test_a_stored_run_may_have_the_tolerance_that_is_gone():
    stored = {"objectives": {"preference": "score", "tolerance": {}}}
    assert parse_settings(stored, "a run", is_stored=True).objectives == Objectives()
    with pytest.raises(UsageError, match=r"there is no setting `objectives\.tolerance`"):
        parse_settings(stored, "overnight.toml")


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


def test_of_the_best_scores_the_first_is_the_best():
    programs = [program(1.0, 5.0, 0.0), program(2.0, 9.0, 0.0), program(2.0, 1.0, 0.0)]
    assert best_of(programs) is programs[1]


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
