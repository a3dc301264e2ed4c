"""A night whose scoring gives metrics and notes: kept, and shown to models, except those on held-out inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli.show import show
from overnight.flows.report.build import build_report
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database
from overnight.tasks.report.page import render
from tests.flows.conftest import JUDGED, Night
from tests.flows.nights import everything

pytestmark = pytest.mark.heavy

SPOKEN: dict[str, Any] = {"sampling": {"models": [{"name": "builtin/mutate", "style": "chat"}]}}

SCORE = "return -abs(guess(offset) - 10.0 - offset)"
NOTED = """value = guess(offset)
    return {"score": -abs(value - 10.0 - offset), "value": value, "notes": f"guessed {value} of {100 + offset}"}"""


@pytest.fixture
def toy(toy: Path, tmp_path: Path) -> Path:
    """The toy problem with metrics and notes."""
    copy = tmp_path / "noted" / "toy.py"
    copy.parent.mkdir()
    copy.write_text(toy.read_text().replace(SCORE, NOTED))
    return copy


def test_they_are_in_history_prompts_and_report(night: Night, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    settings = JUDGED | SPOKEN
    files = night(2, history=tmp_path / "history", settings=settings)
    database = Database(tmp_path / "history")
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
    show(start["program_id"], history=open_history(str(tmp_path / "history")))
    assert "note on input 2: guessed 2.0 of 101" in capsys.readouterr().out
    show(start["program_id"], format="json", history=open_history(str(tmp_path / "history")))
    assert json.loads(capsys.readouterr().out)["metrics"] == {"value": 1.5}


def test_a_night_that_is_resumed_tells_models_the_same(night: Night, tmp_path: Path):
    settings = SPOKEN | {"sandbox": {"confirm": "best"}}
    whole = everything(night(3, history=tmp_path / "whole", settings=settings))
    parts = night(1, history=tmp_path / "parts", settings=settings)
    night(2, history=tmp_path / "parts", settings=settings)
    assert everything(parts) == whole
