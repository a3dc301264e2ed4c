"""Nights whose scoring gives more than a score: metrics and notes, a front, limits, targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overnight.flows.cli.show import show
from overnight.flows.report.build import build_report
from overnight.schemas.errors import SpecificationError
from overnight.tasks.history.database import Database
from overnight.tasks.report.page import render
from tests.flows.conftest import Night
from tests.flows.night.conftest import TwoNights
from tests.flows.night.kinds import PARETO, TWO
from tests.toys import toy_with

pytestmark = pytest.mark.heavy


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The toy problem with a second objective."""
    return toy_with(tmp_path / "two/toy.py", score=TWO)


def test_a_night_with_a_front_keeps_it_and_its_limits(two_nights: TwoNights):
    database = Database(two_nights("pareto").backend.root)
    front = database.rows("FROM front")
    assert len(front) > 1
    rows = database.rows("SELECT program_id, score, metrics FROM programs WHERE outcome = 'scored'")
    points = {row["program_id"]: (row["score"], -dict(row["metrics"])["size"]) for row in rows}
    best = {
        point
        for point in points.values()
        if not any(other != point and other[0] >= point[0] and other[1] >= point[1] for other in points.values())
    }
    assert {points[row["program_id"]] for row in front} == best
    assert all(row["is_confirmed"] for row in front if row["generation"])
    assert all(dict(row["metrics"])["size"] < 9 for row in rows)
    over = database.rows("SELECT error, score FROM programs WHERE outcome = 'over_limit'")
    assert over
    assert all("and its limit is < 9" in row["error"] and row["score"] is None for row in over)
    prompts = [row["prompt"] for row in database.rows("SELECT prompt FROM programs WHERE generation > 0")]
    assert all("Beside the score: less `size` counts, too: programs are kept that" in prompt for prompt in prompts)
    assert all("; `size` has to be < 9." in prompt for prompt in prompts)
    assert any("do better than the last version in something" in prompt for prompt in prompts)


def test_a_night_ends_once_a_program_meets_all_conditions_of_its_target(night: Night, tmp_path: Path):
    for target, expected in (("score >= -9, size <= 2", ("target", 0)), ("score > 0, size <= 2", ("generations", 1))):
        night(1, history=tmp_path / expected[0], settings=PARETO, target=target)
        (row,) = Database(tmp_path / expected[0]).rows("SELECT stop_reason, generations FROM nights")
        assert tuple(row.values()) == expected


def test_where_only_bests_are_confirmed_no_other_program_meets_a_target(
    night: Night, two_nights: TwoNights, tmp_path: Path
):
    all_confirmed = two_nights("pareto").backend.root
    night(3, history=tmp_path / "bests", settings=PARETO | {"objectives": {"metrics": {"size": "minimize"}}})
    for history, reason in ((tmp_path / "bests", "generations"), (all_confirmed, "target")):
        (row,) = Database(history).rows("SELECT best_score, start_score FROM runs")
        assert row["best_score"] > row["start_score"]
        night(1, history=history, target=f"score <= {row['start_score']}")
        assert Database(history).rows("FROM nights ORDER BY night")[-1]["stop_reason"] == reason


def test_an_objective_that_the_scoring_does_not_give_is_an_error_before_the_night(night: Night):
    settings = PARETO | {"objectives": {"metrics": {"sise": "minimize"}}}
    with pytest.raises(SpecificationError, match=r"expected the metric 'sise'.*got of every input: size"):
        night(1, settings=settings)


# Metrics and notes: kept, and shown to models, except those on held-out inputs


def test_metrics_and_notes_are_in_history_prompts_and_report(two_nights: TwoNights, capsys: pytest.CaptureFixture[str]):
    files = two_nights("metrics and notes")
    database = Database(files.backend.root)
    rows = database.rows("SELECT * FROM programs WHERE outcome = 'scored' ORDER BY generation, index")
    assert all(dict(row["metrics"]).keys() == {"value"} for row in rows)
    start = rows[0]
    assert dict(start["metrics_by_input"]) == {"value": [1.0, 2.0]}
    assert start["notes"] == ["guessed 1.0 of 100", "guessed 2.0 of 101"]
    prompts = [row["prompt"] for row in database.rows("SELECT prompt FROM programs WHERE generation > 0")]
    assert any("on input 1 (scores -9): guessed 1.0 of 100" in prompt for prompt in prompts)
    assert not any("of 102" in str(row) or "of 103" in str(row) for row in rows), "notes on other splits"
    page = render(build_report(database, files))
    assert "guessed" in page[page.index('id="inputs"') :]
    show(start["program_id"], history=files.backend)
    assert "note on input 2: guessed 2.0 of 101" in capsys.readouterr().out
    show(start["program_id"], format="json", history=files.backend)
    assert json.loads(capsys.readouterr().out)["metrics"] == {"value": 1.5}
