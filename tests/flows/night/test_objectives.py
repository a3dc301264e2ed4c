"""A night with two objectives: its front, its limits, and that it is resumed and replayed as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.errors import SpecificationError
from overnight.tasks.history.database import Database
from tests.flows.conftest import Night
from tests.flows.nights import everything, require_replay

pytestmark = pytest.mark.heavy

SCORE = "return -abs(guess(offset) - 10.0 - offset)"
TWO = 'return {"score": -abs(guess(offset) - 10.0 - offset), "size": abs(guess(offset))}'

PARETO: dict[str, Any] = {
    "objectives": {"metrics": {"size": "minimize"}, "limits": {"size": "< 9"}, "preference": "pareto"},
    "sampling": {"models": [{"name": "builtin/mutate", "style": "chat"}]},
    "sandbox": {"confirm": "best"},
}
"""The nearer to 10, the higher the score; the nearer to 0, the smaller: the front is what lies between."""


@pytest.fixture
def toy(toy: Path, tmp_path: Path) -> Path:
    """The toy problem with a second objective."""
    copy = tmp_path / "two" / "toy.py"
    copy.parent.mkdir()
    copy.write_text(toy.read_text().replace(SCORE, TWO))
    return copy


def test_a_night_with_a_front_is_resumed_and_replayed_as_it_was(night: Night, tmp_path: Path):
    whole = night(4, history=tmp_path / "whole", settings=PARETO)
    parts = night(1, history=tmp_path / "parts", settings=PARETO)
    night(3, history=tmp_path / "parts", settings=PARETO)
    assert everything(parts) == everything(whole)
    require_replay(parts, tmp_path / "again")
    database = Database(tmp_path / "whole")
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
    assert all("Beside the score: less `size` counts, too; `size` has to be < 9." in prompt for prompt in prompts)
    assert any("do better than the last version in something" in prompt for prompt in prompts)


def test_a_night_ends_once_a_program_meets_all_conditions_of_its_target(night: Night, tmp_path: Path):
    for target, expected in (("score >= -9, size <= 2", ("target", 0)), ("score > 0, size <= 2", ("generations", 1))):
        night(1, history=tmp_path / expected[0], settings=PARETO, target=target)
        (row,) = Database(tmp_path / expected[0]).rows("SELECT stop_reason, generations FROM nights")
        assert tuple(row.values()) == expected


def test_where_only_bests_are_confirmed_no_other_program_meets_a_target(night: Night, tmp_path: Path):
    of_the_score = PARETO | {"objectives": {"metrics": {"size": "minimize"}}}
    for settings, reason in ((of_the_score, "generations"), (PARETO, "target")):
        history = tmp_path / reason
        night(3, history=history, settings=settings)
        (row,) = Database(history).rows("SELECT best_score, start_score FROM runs")
        assert row["best_score"] > row["start_score"]
        night(1, history=history, target=f"score <= {row['start_score']}")
        assert Database(history).rows("FROM nights ORDER BY night")[-1]["stop_reason"] == reason


def test_an_objective_that_the_scoring_does_not_give_is_an_error_before_the_night(night: Night):
    settings = PARETO | {"objectives": {"metrics": {"sise": "minimize"}}}
    with pytest.raises(SpecificationError, match=r"expected the metric 'sise'.*got of every input: size"):
        night(1, settings=settings)
