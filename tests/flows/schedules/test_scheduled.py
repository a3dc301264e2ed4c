"""Scheduled nights: the first creates the run, the next continues it, and two never run at the same time."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from overnight.flows.cli.main import run
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.schedules.scheduled_night import Deadline, Start, create_if_missing, night, what_is_left
from overnight.schemas.generation import NightRecord
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.night_log import read_log
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import NOW, a_generation, a_judged, an_answer, create, grow
from tests.in_process import InProcess
from tests.toys import toy_with

pytestmark = pytest.mark.prefect

NIGHTLY = f"nightly-{os.getpid()}"
"""Id of the run: other processes of the test run have others on the same server."""


@pytest.fixture
def parameters(toy: Path, tmp_path: Path, prefect: str, in_process: InProcess) -> dict[str, Any]:
    return {
        "run_id": NIGHTLY,
        "history": str(tmp_path),
        "start": Start(problem=str(toy), settings={"sandbox": {"slots": 2}}, seed=1),
        "rules": StopConditions(generations=1),
    }


def test_the_first_night_creates_the_run_and_the_next_continues_it(parameters: dict[str, Any], tmp_path: Path):
    first, second = (night(**parameters, return_state=True) for _ in range(2))
    assert first.is_completed()
    assert second.is_completed()
    assert first.message is not None
    assert "generations" in first.message
    nights = Database(tmp_path).rows("SELECT run_id, night, generations FROM nights ORDER BY night")
    assert [(row["run_id"], row["night"], row["generations"]) for row in nights] == [
        (NIGHTLY, 1, 1),
        (NIGHTLY, 2, 1),
    ]
    (started, line, ended) = [
        line for number, line in read_log(files_of(LocalBackend(tmp_path), NIGHTLY)) if number == 1
    ]
    assert "started, generations 1; best " in started
    assert "generation 1: best " in line
    assert "ended, stopped by: generations; best " in ended
    report = files_of(LocalBackend(tmp_path), NIGHTLY).directory / "report.html"
    assert "Guess a number" in report.read_text()
    with get_client(sync_client=True) as client:
        reports = ArtifactFilter(key=ArtifactFilterKey(any_=[f"{NIGHTLY}-report"]))
        artifacts = client.read_artifacts(artifact_filter=reports)
    assert any(f"overnight watch {NIGHTLY}" in str(artifact.data) for artifact in artifacts)


def test_the_first_night_begins_with_the_programs_that_the_schedule_names(parameters: dict[str, Any], tmp_path: Path):
    better = toy_with(tmp_path / "better.py", start="return offset + 9.0")
    start = parameters["start"].model_copy(update={"starts": [str(better)]})
    create_if_missing(NIGHTLY, LocalBackend(tmp_path), start)
    files = create_if_missing(NIGHTLY, LocalBackend(tmp_path), start)
    assert max(program.score for program in stored_run.read_run_history(files).programs.values()) == -1.0


def test_a_night_is_cancelled_at_once_if_another_is_under_way(parameters: dict[str, Any], tmp_path: Path):
    with run_lock(files_of(LocalBackend(tmp_path), NIGHTLY)):
        started = time.monotonic()
        state = night(**parameters, return_state=True)
    assert state.is_cancelled()
    assert "under way in another process" in str(state.message)
    assert time.monotonic() - started < 30
    assert Database(tmp_path).rows("FROM nights") == []
    ((number, line),) = read_log(files_of(LocalBackend(tmp_path), NIGHTLY))
    assert number == 1
    assert f"not started: run {NIGHTLY} is under way in another process" in line


def test_a_night_that_cannot_start_says_why_though_there_is_no_run(
    parameters: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    parameters["start"] = Start(problem=str(tmp_path / "gone.py"), seed=1)
    assert night(**parameters, return_state=True).is_failed()
    assert run(["runs", "--history", str(tmp_path)]) == 0
    assert f"{NIGHTLY}: " in capsys.readouterr().err
    assert run(["runs", NIGHTLY, "--history", str(tmp_path)]) == 0
    assert f"not started: no file {tmp_path / 'gone.py'}" in capsys.readouterr().out


def test_what_nights_spent_that_began_since_a_night_was_due_is_no_longer_left(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 1)
    rules = StopConditions(generations=5, max_samples=20, max_tokens=10**6, budget_usd=1, target=3)
    assert what_is_left(rules, files, NOW) == rules, "no night has begun"
    record.write_night(files, NightRecord(1, NOW, -9, -9, ""))
    (spent,) = Database(tmp_path).rows("SELECT samples, cost_usd FROM nights")
    (used,) = Database(tmp_path).rows("SELECT sum(tokens_in + tokens_out) AS tokens FROM programs WHERE night = 1")
    left = what_is_left(rules, files, NOW)
    assert (left.generations, left.max_samples, left.target) == (4, 20 - spent["samples"], 3)
    assert left.max_tokens == 10**6 - used["tokens"]
    assert left.budget_usd == pytest.approx(1 - spent["cost_usd"])
    assert what_is_left(rules, files, NOW + timedelta(seconds=1)) == rules, "it began before"


def test_what_earlier_nights_paid_without_using_it_is_not_taken_from_a_later_one(tmp_path: Path):
    files = create(tmp_path)
    judged = a_judged(files.run_id, 1, 0, scores=(1.0, 1.0))
    record.commit(files, a_generation(1, [judged], judged.program(), questions=(an_answer(),)))
    record.write_night(files, NightRecord(2, NOW, -9, -9, ""))
    assert what_is_left(StopConditions(generations=1, budget_usd=1), files, NOW).budget_usd == 1


def test_prefects_serve_can_pickle_a_night_with_its_parameter_types():
    assert night.fn.__annotations__["start"] is Start
    assert night.fn.__annotations__["rules"] is StopConditions


def test_a_run_whose_creation_was_interrupted_is_created_anew(parameters: dict[str, Any], tmp_path: Path):
    create_if_missing(NIGHTLY, LocalBackend(tmp_path), parameters["start"]).run.unlink()
    assert create_if_missing(NIGHTLY, LocalBackend(tmp_path), parameters["start"]).run.exists()


def test_a_night_that_begins_after_its_deadline_runs_no_generation(parameters: dict[str, Any], tmp_path: Path):
    parameters["deadline"] = Deadline(until="1h", time_zone="UTC")
    late = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(hours=2))
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(night, parameters=parameters, state=late)
    run_flow(night, flow_run=flow_run, parameters=parameters)
    (row,) = Database(tmp_path).rows("FROM nights")
    assert (row["stop_reason"], row["generations"]) == ("deadline", 0)
