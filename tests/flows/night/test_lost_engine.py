"""Loss of the engine pauses the night; candidates in flight are evaluated once when it is back, and nothing is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import overnight.flows.night.retry_policy
from overnight.tasks.history.database import Database
from overnight.testing.made import run_at
from tests.accidents import wait_until
from tests.engine import PrivateEngine
from tests.flows.conftest import Night

pytestmark = pytest.mark.docker


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.5)


@contextmanager
def accident(engine: PrivateEngine, run: Path) -> Iterator[None]:
    """Kill the engine once more than a generation is committed; restart it when the night has paused."""

    def stop_and_restart() -> None:
        wait_until(lambda: len(run_at(run).committed()) > 1)
        engine.end(signal.SIGKILL)
        wait_until(lambda: any((run / "attempts").glob("*.parquet")))
        engine.start()

    thread = threading.Thread(target=stop_and_restart)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_lost_engine_pauses_the_night_until_it_is_back(docker_night: Night, engine: PrivateEngine, tmp_path: Path):
    with accident(engine, tmp_path / "runs/toy"):
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
    lost = database.rows("SELECT generation, index, error, wall_s FROM programs WHERE outcome = 'sandbox_error'")
    assert lost == [], "all are evaluated once it is back"
