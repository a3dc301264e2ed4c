"""The front of a run of two objectives: in SQL, in the report, for `best --prefer`, and compared by hypervolume."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli.best import best
from overnight.flows.cli.compare import compare
from overnight.flows.report.build import build_report
from overnight.schemas.algorithm import Join
from overnight.schemas.errors import UsageError
from overnight.schemas.objectives import Objectives
from overnight.schemas.program import best_of
from overnight.tasks.history import record
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.report.page import render
from overnight.testing.made import a_generation, a_judged, a_problem, a_run

RUN = "20260101-2200-toy-aaaa"
POINTS = [(1.0, 5.0), (2.0, 6.0), (2.0, 7.0), (0.5, 5.0), (2.0, 6.0), (-9.0, 9.0)]
"""Score and seconds of programs; the first two are the front, beside a program that equals the second."""


@pytest.fixture
def charts() -> None:
    """They are drawn."""


def run_with(history: Path, points: list[tuple[float, float]], run_id: str = RUN, **more: Any) -> RunFiles:
    """Make a run whose second objective is to take few seconds, with these programs after the start program."""
    problem = a_problem()
    objectives = Objectives.model_validate({"metrics": {"seconds": "minimize"}, **more})
    problem = replace(problem, settings=problem.settings.model_copy(update={"objectives": objectives}))
    files = files_of(open_history(str(history)), run_id)
    start, *others = (
        replace(a_judged(run_id, index > 0, max(0, index - 1), scores=(score,)), metrics={"seconds": seconds})
        for index, (score, seconds) in enumerate([(-9.0, 9.5), *points])
    )
    niches = problem.settings.search.algorithm.founded_niches
    founded = a_generation(0, [start], start.program(), [Join(niche, start.id) for niche in niches], night=0)
    record.create(files, a_run(run_id, problem), founded)
    top = best_of(one.program() for one in others)
    record.commit(files, a_generation(1, others, top, [Join("0", one.id) for one in others]))
    return files


def test_the_view_has_what_no_other_program_dominates_the_first_of_equals(tmp_path: Path):
    run_with(tmp_path, POINTS)
    run_with(tmp_path, [(9.0, 0.0)], "20260101-2200-toy-bbbb")
    found = Database(tmp_path).rows("SELECT score, metrics['seconds'] AS seconds FROM front WHERE run_id = ?", [RUN])
    assert [tuple(row.values()) for row in found] == [(2.0, 6.0), (1.0, 5.0)]


def test_the_report_draws_and_lists_it(tmp_path: Path):
    report = build_report(Database(tmp_path), run_with(tmp_path, POINTS))
    assert sum(point.is_on_front for point in report.objective_points) == 2
    page = render(report)
    assert page.count('id="chart-front-0-1"') == 1
    assert "2 programs are on the front; the best score is 2 and the best seconds is 5" in page
    assert "wanted is more score and less seconds" in page
    assert 'id="front-table"' in page


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [("seconds < 6", (1.0, 5.0)), ("seconds <= 7", (2.0, 6.0)), ("score > 1, seconds < 9", (2.0, 6.0))],
)
def test_a_preference_chooses_the_best_score_that_meets_it(
    prefer: str, expected: tuple[float, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run_with(tmp_path, POINTS)
    best(RUN, prefer=prefer, format="json", history=open_history(str(tmp_path)))
    found = json.loads(capsys.readouterr().out)
    assert (found["score"], found["metrics"]["seconds"]) == expected


def test_what_a_message_names_next_has_the_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    history = open_history(str(tmp_path))
    run_with(tmp_path, POINTS)
    with pytest.raises(UsageError) as raised:
        best(RUN, prefer="seconds < 1", history=history)
    assert f'overnight sql "FROM front" --history {tmp_path}' in raised.value.remedy
    best(RUN, history=history)
    assert f"--history {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([(1.0, 5.0), (2.0, 6.0)], "it is one of the programs that none beats in everything: overnight sql"),
        (
            [(2.0, 7.0), (2.0, 6.0), (2.5, 8.0), (2.5, 7.5)],
            " is as good in all objectives and better in one; the programs",
        ),
    ],
)
def test_the_best_says_whether_another_program_beats_it(
    points: list[tuple[float, float]], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run_with(tmp_path, points)
    best(RUN, history=open_history(str(tmp_path)))
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prefer", "says"),
    [
        ("seconds < 1", "none of 7 scored programs meets"),
        ("speed < 1", "no program has the metric 'speed'"),
        ("seconds", "expected conditions such as"),
    ],
)
def test_a_preference_that_cannot_be_met_is_named(prefer: str, says: str, tmp_path: Path):
    run_with(tmp_path, POINTS)
    with pytest.raises(UsageError, match=says):
        best(RUN, prefer=prefer, history=open_history(str(tmp_path)))


def test_runs_are_compared_by_the_hypervolume_of_their_fronts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run_with(tmp_path, [(0.0, 1.0), (1.0, 2.0)])
    run_with(tmp_path, [(0.5, 1.5)], "20260101-2200-toy-bbbb")
    compare(RUN, "20260101-2200-toy-bbbb", format="json", history=open_history(str(tmp_path)))
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    found = {run["run_id"][-4:]: run["hypervolume"] for run in group["runs"]}
    assert found == {"aaaa": pytest.approx((2 * 1.1 * 0.1 - 0.1**2) / 1.1**2), "bbbb": pytest.approx(0.6**2 / 1.1**2)}
