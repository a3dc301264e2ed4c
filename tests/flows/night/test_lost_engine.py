"""Loss of the engine pauses the night; candidates in flight are evaluated once when it is back, and nothing is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import overnight.flows.night.retry_policy
from overnight.schemas.errors import SandboxUnavailable
from overnight.tasks.history.database import Database
from overnight.testing.made import run_at
from tests.accidents import wait_until
from tests.engine import PrivateEngine
from tests.flows.conftest import JUDGED, Night

pytestmark = [pytest.mark.docker, pytest.mark.prefect]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.5)


@contextmanager
def accident(
    engine: PrivateEngine, run: Path, how: signal.Signals, *, after: int, gone: Callable[[], bool]
) -> Iterator[None]:
    """Stop the engine once more than `after` generations are committed; restart it when `gone` returns true."""

    def stop_and_restart() -> None:
        wait_until(lambda: len(run_at(run).committed()) > after)
        engine.end(how)
        wait_until(gone)
        engine.start()

    thread = threading.Thread(target=stop_and_restart)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def has_paused(run: Path) -> bool:
    return any((run / "attempts").glob("*.parquet"))


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_lost_engine_pauses_the_night_until_it_is_back(
    docker_night: Night, engine: PrivateEngine, tmp_path: Path, how: signal.Signals
):
    run = tmp_path / "runs/toy"
    with accident(engine, run, how, after=1, gone=lambda: has_paused(run)):
        docker_night(4)
    database = Database(tmp_path)
    (row,) = database.rows("FROM nights")
    assert (row["stop_reason"], row["generations"]) == ("generations", 4)
    assert row["paused_s"] >= 0.5
    assert "engine" in row["paused_by"]
    failed = database.rows("FROM generations WHERE state = 'failed'")
    assert failed
    assert all("engine" in attempt["error"] for attempt in failed)
    assert_one_verdict_each(database, generations=4)
    assert engine.containers() == []
    assert engine.processes() == []


def assert_one_verdict_each(database: Database, *, generations: int) -> None:
    counted = database.rows(
        "SELECT count(*) AS n, count(DISTINCT program_id) AS ids FROM programs WHERE generation > 0"
    )
    assert counted == [{"n": 6 * generations, "ids": 6 * generations}]
    assert database.rows("FROM programs WHERE outcome = 'sandbox_error'") == [], "all were evaluated after it was back"


@pytest.mark.slow
def test_without_an_engine_the_night_ends_at_its_deadline_and_can_be_resumed(
    docker_night: Night, engine: PrivateEngine, tmp_path: Path
):
    run, ended = tmp_path / "runs/toy", threading.Event()
    docker_night(1, settings=JUDGED)
    with accident(engine, run, signal.SIGKILL, after=3, gone=ended.is_set):
        with pytest.raises(SandboxUnavailable, match="the final is undecided"):
            docker_night(10_000, until=datetime.now(UTC) + timedelta(seconds=10))
        ended.set()
    row = Database(tmp_path).rows("FROM nights ORDER BY night")[-1]
    assert row["stop_reason"] == "deadline"
    assert row["paused_s"] > 0
    docker_night(2)
    assert_one_verdict_each(Database(tmp_path), generations=1 + row["generations"] + 2)
    assert engine.containers() == []
