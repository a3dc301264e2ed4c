"""Stop conditions of a night."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from overnight.flows.cli.main import run
from overnight.flows.night.events import Clock
from overnight.flows.night.night_limits import NightLimits, unknown_metrics
from overnight.flows.night.search_state import SearchState
from overnight.flows.night.stop_conditions import StopConditions, Tally, reason_to_stop
from overnight.schemas.algorithm import Join
from overnight.schemas.generation import StopReason
from overnight.schemas.objectives import Objectives
from overnight.schemas.program import Program, best_of
from overnight.schemas.settings import Known
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.files import files_of
from overnight.testing.made import a_generation, a_judged, a_problem, a_run

NOW = datetime(2026, 11, 25, tzinfo=UTC)
RUN = "20261125-2200-toy-aaaa"


@pytest.mark.parametrize(
    ("conditions", "tally", "reason"),
    [
        ({}, {}, None),
        ({}, {"interrupted": True}, StopReason.INTERRUPTED),
        ({"generations": 3}, {"generations": 2}, None),
        ({"generations": 3}, {"generations": 3}, StopReason.GENERATIONS),
        ({"max_samples": 10}, {"samples": 10}, StopReason.SAMPLES),
        ({"max_tokens": 10}, {"tokens": 9}, None),
        ({"max_tokens": 10}, {"tokens": 10}, StopReason.TOKENS),
        ({"total_budget_usd": 2.0}, {"cost_usd": 0.5, "total_usd": 2.1}, StopReason.BUDGET),
        ({"budget_usd": 1.0}, {"cost_usd": 0.99}, None),
        ({"budget_usd": 1.0}, {"cost_usd": 1.0}, StopReason.BUDGET),
        ({"budget_usd": 0.1}, {"cost_usd": sum([0.01] * 10)}, StopReason.BUDGET),
        ({"month_budget_usd": 9.0}, {"cost_usd": 0.5, "period_usd": {"month": 8.9}}, None),
        ({"month_budget_usd": 9.0}, {"cost_usd": 0.5, "period_usd": {"month": 9.0}}, StopReason.BUDGET),
        ({"target": 5.0}, {"best": 5.0}, StopReason.TARGET),
        ({"target": "s < 1"}, {"best": 5.0, "meets_target": False}, None),
        ({"target": "s < 1"}, {"best": 5.0, "meets_target": True}, StopReason.TARGET),
        ({"until": NOW + timedelta(seconds=60)}, {"usual_generation_s": 50.0}, None),
        ({"until": NOW + timedelta(seconds=60)}, {"usual_generation_s": 61.0}, StopReason.DEADLINE),
        ({"until": NOW - timedelta(seconds=1)}, {}, StopReason.DEADLINE),
        ({"until": NOW, "target": 5.0}, {"best": 6.0}, StopReason.TARGET),
    ],
)
def test_the_first_condition_that_is_met_is_the_reason(conditions: dict, tally: dict, reason: StopReason | None):
    assert (
        reason_to_stop(StopConditions(**conditions), Tally(**{"since": NOW, "now": NOW, "best": 0.0, **tally}))
        is reason
    )


def test_metrics_of_a_target_that_no_program_has_are_found():
    programs = [Program("1", "", (1.0,), 1.0, metrics={"size": 2.0}), Program("2", "", (1.0,), 1.0)]
    assert unknown_metrics("score > 1, size < 3", programs) == []
    assert unknown_metrics("sise < 3, size < 3", programs) == ["sise"]
    assert unknown_metrics(5.0, programs) == []


def test_a_night_ends_at_a_proven_optimum_unless_the_user_names_a_target():
    proven = Known(best=112.0, proven=True)
    assert StopConditions().with_optimum(proven.optimum).target == pytest.approx(112.0)
    assert str(StopConditions().with_optimum(Known(best=-65.0, proven=True).optimum)) == "target -65"
    assert str(StopConditions(target=2.635983084919, max_tokens=123456)) == "max tokens 123,456, target 2.6359831"
    assert StopConditions(target=5.0).with_optimum(proven.optimum).target == 5.0
    assert StopConditions().with_optimum(Known(best=112.0).optimum).target is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--target", "speed = 1"],
            "--target: expected conditions such as `seconds < 1, score >= 0.5`, got 'speed = 1'",
        ),
        (["--total-budget", "-1"], "--total-budget: Input should be greater than or equal to 0, got -1"),
        (["--grace", "nan"], "--grace: Input should be a finite number, got nan"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_by_the_name_of_its_flag(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    assert run(["resume", "last", *words]) == 2
    assert capsys.readouterr().err.startswith(f"overnight: error: {message}\n")


def test_a_new_member_of_the_front_is_a_gain_where_the_front_is_searched(tmp_path: Path):
    problem = a_problem()
    objectives = Objectives(metrics={"size": "minimize"}, preference="pareto")
    problem = replace(problem, settings=problem.settings.model_copy(update={"objectives": objectives}))
    run, files = a_run(RUN, problem), files_of(open_history(str(tmp_path)), RUN)
    start = replace(a_judged(RUN, 0, 0, scores=(0.0,)), metrics={"size": 5.0})
    record.create(files, run, a_generation(0, [start], start.program(), [Join("0", start.id)], night=0))
    state = SearchState(run, stored_run.read_run_history(files))
    limits = NightLimits(state, StopConditions(), NOW)
    found = []
    for number, (score, size) in enumerate([(-1.0, 4.0), (-2.0, 5.0), (-1.0, 4.0), (0.0, 5.0), (1.0, 9.0)], start=1):
        one = replace(a_judged(RUN, number, 0, scores=(score,)), metrics={"size": size})
        generation = a_generation(number, [one], best_of([state.best, one.program()]))
        limits.count(generation, 1.0)
        state.settle(generation)
        found.append(limits.tally(Clock(NOW, 1.0)).generations_since_best)
    assert found == [0, 1, 2, 3, 0], "what equals a member is no gain"
