"""A night whose best program is pruned at its end: what is recorded, repeated, resumed and left as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Provider, says
from tests.flows.conftest import Night
from tests.flows.nights import require_replay

BLOATED = """\
    spare = max(offset, 3)
    if offset > 100:
        return spare
    return offset + 6.0 * (1.0 if spare or not offset else 2.0)"""
BARE = "return offset + 6.0"


@pytest.fixture
def bloated(provider: Provider, asks: dict[str, Any]) -> dict[str, Any]:
    """Settings of a night whose only answer has a good program with what it does not need."""
    provider.script = lambda _, request: says(request, f"def guess_v9(offset):\n{BLOATED}")
    return {**asks, "search": {"prompts": 1, "samples": 1, "prune": 100}}


def pruned(history: Path) -> list[dict[str, Any]]:
    return Database(history).rows(
        "SELECT program_id, parent_ids, outcome, score, body, model, proposer, idea, finish_reason, evaluations, error "
        "FROM programs WHERE operator = 'prune' ORDER BY generation"
    )


def test_the_best_program_of_a_night_is_pruned_before_it_is_shown(
    night: Night, bloated: dict[str, Any], tmp_path: Path
):
    files = night(2, settings=bloated)
    (row,) = pruned(tmp_path)
    assert row["body"] == BARE
    assert (row["outcome"], row["score"], row["model"]) == ("scored", -4.0, "builtin/pruner")
    assert row["idea"] == "left out what changes no score: 5 -> 2 lines"
    history = Database(tmp_path)
    (parent,) = history.rows("SELECT operator, score FROM programs WHERE program_id = ?", [row["parent_ids"][0]])
    assert parent["operator"] != "prune"
    (found,) = history.rows("SELECT best_program_id, finalists, samples FROM nights")
    assert found["best_program_id"] == row["program_id"]
    assert found["samples"] == 2, "nobody was asked for it"
    require_replay(files, tmp_path / "again")
