"""Runs that version 0.1 exported: they are taken in, replayed to the same history, and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.night.search import search
from flows.night.stop_conditions import StopConditions
from flows.replay import open_replay, read_recorded_run, replay
from tasks.history import record
from tasks.history.archive import describe, unpack
from tasks.history.database import Database
from tasks.history.local_backend import LocalBackend

pytestmark = [pytest.mark.docker, pytest.mark.prefect]

FIXTURES = Path(__file__).parents[1] / "fixtures"
ARCHIVES = {
    "0.1-directory": 24,
    "0.1-islands-reset": 321,
    "0.1-openevolve-task": 111,
    "0.1-paper-mode": 255,
    "0.1-several-functions-feedback": 62,
}
"""Exported runs, and how many programs of each are scored."""


def test_every_exported_run_is_tried():
    assert {path.name.removesuffix(".tar.zst") for path in FIXTURES.glob("*.tar.zst")} == set(ARCHIVES)


def require_answers(history: Path, run_id: str) -> None:
    """Check that columns and macros which later versions added answer for an older run, too."""
    database = Database(history)
    (run,) = database.rows("SELECT samples, best_score - start_score AS gain FROM runs")
    (last,) = database.rows("SELECT max(sample) AS sample, bool_and(night >= 0) AS has_night FROM programs")
    assert last == {"sample": run["samples"], "has_night": True}
    assert sum(row["gain"] for row in database.rows("FROM improvements(?)", [run_id])) == pytest.approx(run["gain"])
    assert [
        row["run_id"] for row in database.rows("PIVOT progress() ON generation USING max(best_score) GROUP BY run_id")
    ] == [run_id]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_run_of_0_1_is_taken_in_replays_to_the_same_history_and_resumes(name: str, tmp_path: Path, prefect: str):
    files, is_new = unpack(FIXTURES / f"{name}.tar.zst", LocalBackend(tmp_path / "history"))
    assert is_new
    before, past = describe(files), record.read_run_history(files)
    assert len(past.programs) == ARCHIVES[name]

    then = read_recorded_run(files)
    with open_replay(then, LocalBackend(tmp_path / "again")) as session:
        found = replay(then, session)
    assert found.first is None
    assert found.generations == len(past.steps) + 1
    assert describe(files) == before, "a replay only reads"

    search(files.run_id, str(LocalBackend(tmp_path / "history")), StopConditions(generations=1))
    now = record.read_run_history(files)
    assert now.generations == past.generations + 1
    require_answers(tmp_path / "history", files.run_id)
    assert {name: now.programs[name] for name in past.programs} == past.programs, "what was there stays as it was"
