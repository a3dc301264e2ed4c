"""Generations that fail: tried again, given up, retried later by a person, here or in Prefect; never there twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import overnight.flows.night.retry_policy
from overnight.flows.night.search import generation
from overnight.schemas.errors import EnvironmentFault, UsageError
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.journal import Journal
from overnight.tasks.history.night_log import read_log
from overnight.testing.fake_provider import Answer, Provider, says
from overnight.testing.made import run_at
from tests.accidents import wait_until
from tests.flows.conftest import Night

pytestmark = pytest.mark.heavy


def busy() -> Answer:
    """Said after others were answered: else it would be an outage, which a night waits for."""
    time.sleep(0.5)
    return Answer({"error": {"message": "busy"}}, status=503)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def few(asks: dict[str, Any]) -> dict[str, Any]:
    """No retries, one request a prompt, one generation in flight: which request belongs to which is known."""
    asks["sampling"] |= {"concurrency": 6}
    return {**asks, "sandbox": {"confirm": "never"}, "search": {"retries": 0, "failures": 3}}


def second_fails(number: int, _: dict[str, Any]) -> Answer | None:
    """The second request of generation 2 fails once; three requests are a generation's."""
    return busy() if number == 4 else None


def ends(history: Path) -> list[tuple[int, int]]:
    rows = Database(history).rows("SELECT generation, place FROM generations WHERE state = 'committed' ORDER BY place")
    return [(row["generation"], row["place"]) for row in rows]


def test_a_night_goes_on_without_a_generation_that_failed_and_a_retry_joins_the_population_as_it_is_then(
    night: Night, provider: Provider, few: dict, tmp_path: Path
):
    provider.script = second_fails
    files = night(4, settings=few)
    (pause,) = [line for _, line in read_log(files) if "given up" in line]
    assert "generation 2 is given up: " in pause
    assert "without it in" in pause
    assert ends(tmp_path) == [(0, 0), (1, 1), (3, 3), (4, 4)]
    (failed,) = Database(tmp_path).rows("FROM generations WHERE state = 'given up'")
    assert (failed["generation"], failed["place"]) == (2, 2)
    assert "busy" in failed["error"]
    assert Database(tmp_path).rows("FROM nights")[0]["generations"] == 3
    assert files.journalled_generations() == [2], "what was paid for is kept"
    asked, before = len(provider.requests), stored_run.read_run_history(files)
    night(None, again=[2])
    assert stored_run.read_run_history(files).failed == frozenset()
    assert len(provider.requests) - asked == 1, "two of three prompts were answered in the night"
    assert ends(tmp_path) == [(0, 0), (1, 1), (3, 3), (4, 4), (2, 5)]
    after = stored_run.read_run_history(files)
    assert after.steps[:-1] == before.steps
    assert after.steps[-1].changes, "its programs joined"
    assert files.journalled_generations() == []


def test_a_night_without_scores_warns_once_while_it_runs_and_in_its_row(
    night: Night, provider: Provider, few: dict, tmp_path: Path
):
    provider.script = lambda _, request: says(request, *["no"] * request["n"])
    few["search"] |= {"prompts": 2, "samples": 15}
    files = night(3, settings=few)
    (row,) = Database(tmp_path).rows("SELECT warning FROM nights")
    assert row["warning"] == "90 of 90 samples have no score, 90 are unparsable"
    (line,) = [line for _, line in read_log(files) if "warning" in line]
    assert "60 of 60 samples have no score" in line


def test_where_a_failure_cannot_be_written_down_nothing_is_given_up_and_nothing_bought_again(
    night: Night, provider: Provider, few: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FULL_DISK_S", 0.0)
    hidden = tmp_path / "runs" / "toy" / ".writing"

    def obstruct(number: int, _: dict[str, Any]) -> None:
        if number == 3:
            wait_until(lambda: 1 in run_at(tmp_path / "runs/toy").committed())
            shutil.rmtree(hidden)
            hidden.write_text("a file where a folder must be")

    provider.script = obstruct
    with pytest.raises(EnvironmentFault, match="cannot write"):
        night(3, settings=few)
    files = run_at(tmp_path / "runs" / "toy")
    past = stored_run.read_run_history(files)
    assert (past.generations, past.failed) == (1, frozenset())
    hidden.unlink()
    night(1)
    assert [number for number, _ in ends(tmp_path)] == [0, 1, 2]
    asked_ahead = {one.prompt for one in Journal(files.journal(3), files.backend).known().values()}
    assert len(provider.requests) == 2 * 3 + len(asked_ahead)


@pytest.mark.prefect
def test_one_that_is_committed_or_has_no_turn_is_not_run(
    prefect_night: Night, provider: Provider, few: dict, tmp_path: Path
):
    prefect_night(1, settings=few, run_id="turns")
    asked = len(provider.requests)
    generation("turns", 1, str(tmp_path))
    with pytest.raises(UsageError, match="2 is the next"):
        generation("turns", 3, str(tmp_path))
    assert len(provider.requests) == asked
    assert ends(tmp_path) == [(0, 0), (1, 1)]


def prefect(*arguments: str, api: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env={**os.environ, "PREFECT_API_URL": api},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.prefect
def test_prefect_s_own_retry_runs_a_failed_generation_again(
    prefect_night: Night, provider: Provider, few: dict, tmp_path: Path, prefect_api: str
):
    provider.script = second_fails
    prefect_night(3, settings=few, run_id="again")
    entrypoint = "overnight.flows.night.search.generation"
    done = prefect("flow-run", "retry", "again-g2", "--entrypoint", entrypoint, api=prefect_api)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [number for number, _ in ends(tmp_path)] == [0, 1, 3, 2]
