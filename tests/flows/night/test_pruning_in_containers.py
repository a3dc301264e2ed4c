"""Whole nights that prune their best program: with Prefect's flows, and in containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Provider, says
from tests.flows.conftest import Night
from tests.flows.nights import replayed

CODE = """def guess_v9(offset):
    spare = max(offset, 3)
    if offset > 100:
        return spare
    return offset + 6.0 * (1.0 if spare or not offset else 2.0)"""


@pytest.fixture
def settings(provider: Provider, asks: dict[str, Any]) -> dict[str, Any]:
    provider.script = lambda _, request: says(request, CODE)
    search = {"prompts": 1, "samples": 1, "prune": 100}
    return {**asks, "search": search, "sandbox": {"confirm": "best", "slots": 2}, "validation": [5], "held_out": [7]}


def the_winner_is_pruned(history: Path) -> None:
    (row,) = Database(history).rows("SELECT program_id, body, confirmed_score FROM programs WHERE operator = 'prune'")
    assert (row["body"], row["confirmed_score"]) == ("return offset + 6.0", -4.0)
    (night,) = Database(history).rows("SELECT best_program_id, finalists FROM nights")
    assert night["best_program_id"] == row["program_id"]
    assert night["finalists"][0]["held_out"] == -4.0


@pytest.mark.prefect
def test_a_night_of_prefect_prunes_its_best_program(prefect_night: Night, settings: dict[str, Any], tmp_path: Path):
    prefect_night(1, run_id="pruned", settings=settings)
    the_winner_is_pruned(tmp_path)


@pytest.mark.docker
def test_a_night_in_containers_prunes_its_best_program(docker_night: Night, settings: dict[str, Any], tmp_path: Path):
    files = docker_night(1, settings=settings)
    the_winner_is_pruned(tmp_path)
    found, again = replayed(files, tmp_path / "again")
    assert found.first is None, found.first
    the_winner_is_pruned(again.backend.root)
