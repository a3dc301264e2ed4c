"""Scheduled nights with a server and a worker in processes of their own; the worker is killed or a night cancelled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from overnight.tasks.history.database import Database
from tests.accidents import wait_until
from tests.flows.nights import containers
from tests.standing import BIN, postgresql, process, standing_server

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.prefect, pytest.mark.timeout(1200)]


@pytest.fixture(params=["sqlite", "postgresql"])
def standing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a standing server, with a database of either kind."""
    with contextlib.ExitStack() as stack:
        environment = {}
        if request.param == "postgresql":
            url = stack.enter_context(postgresql(tmp_path / "postgres.log"))
            environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
        yield stack.enter_context(standing_server(tmp_path, **environment))


@dataclass(frozen=True)
class Scheduled:
    """A run on the toy problem with a schedule that starts a night every minute.

    Attributes:
        environment: Environment variables of the worker.
    """

    history: Path
    log: Path
    environment: dict[str, str]

    def worker(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        command = [BIN / "prefect", "worker", "start", "--pool", "overnight", "--type", "process"]
        return process(self.log, *command, **self.environment)

    def nights(self) -> list[dict[str, Any]]:
        return Database(self.history).rows("SELECT run_id, night, stop_reason FROM nights ORDER BY night")

    def generations(self) -> list[int]:
        rows = Database(self.history).rows("SELECT generation FROM generations WHERE state = 'committed'")
        return sorted(row["generation"] for row in rows)

    def is_well_under_way(self) -> bool:
        return self.history.exists() and len(self.generations()) > 2


@pytest.fixture
def scheduled(standing: str, toy: Path, tmp_path: Path) -> Scheduled:
    history, home = tmp_path / "history", str(tmp_path / "worker")
    environment = {"PREFECT_API_URL": standing, "PREFECT_HOME": home, "OVERNIGHT_SLOTS": str(tmp_path)}
    schedule = [
        "schedule",
        "add",
        str(toy),
        "--cron",
        "* * * * *",
        "--generations",
        "15",
        "--seed",
        "1",
        "--history",
        str(history),
    ]
    subprocess.run([BIN / "overnight", *schedule], env={**os.environ, **environment}, check=True)
    return Scheduled(history, tmp_path / "worker.log", environment)


@pytest.fixture
def client(standing: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: standing}), get_client(sync_client=True) as client:
        yield client


def test_killing_a_worker_loses_only_the_night_under_way(scheduled: Scheduled, client: SyncPrefectClient):
    with scheduled.worker() as first:
        wait_until(scheduled.is_well_under_way, lambda: "the first night", timeout_s=300)
        kill_all(first.pid)  # the worker and its night, as in a power failure
    before = scheduled.generations()
    assert before == list(range(len(before)))
    (killed,) = scheduled.nights()
    assert killed["stop_reason"] is None
    run_id = killed["run_id"]
    wait_until(lambda: containers(run_id) == [], lambda: "containers of the killed night are gone", timeout_s=30)
    with scheduled.worker():

        def has_continued() -> bool:
            return len(scheduled.generations()) > len(before) and scheduled.nights()[-1]["stop_reason"] == "generations"

        wait_until(has_continued, lambda: "a night that continues the run", timeout_s=600)
        after, last = scheduled.generations(), scheduled.nights()[-1]["night"]
        assert after == list(range(len(after))), "no generation is lost or repeated"
        wait_until(
            lambda: states(client, f"{run_id}-night-{last}") == {"Completed"},
            lambda: "the state of the next night",
            timeout_s=60,
        )
        assert states(client, f"{run_id}-night-{killed['night']}") == {"Crashed"}
    ids = Database(scheduled.history).rows("SELECT count(*) AS n, count(DISTINCT program_id) AS ids FROM programs")[0]
    assert ids["n"] == ids["ids"]


@pytest.mark.parametrize("standing", ["sqlite"], indirect=True)
def test_a_worker_s_night_that_is_cancelled_in_prefect_stops(scheduled: Scheduled, client: SyncPrefectClient):
    with scheduled.worker():
        wait_until(scheduled.is_well_under_way, lambda: "the first night", timeout_s=300)
        (night,) = scheduled.nights()
        name = f"{night['run_id']}-night-1"
        client.set_flow_run_state(flow_runs(client, name)[0].id, Cancelling())
        wait_until(lambda: states(client, name) == {"Cancelled"}, lambda: "the night is cancelled", timeout_s=60)
        wait_until(lambda: scheduled.nights()[0]["stop_reason"] == "interrupted", timeout_s=30)
        wait_until(lambda: containers(night["run_id"]) == [], lambda: "containers are gone", timeout_s=30)


def kill_all(pid: int) -> None:
    """Kill a process and all its descendants."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in children.stdout.split():
        kill_all(int(child))


def states(client: SyncPrefectClient, name: str) -> set[str]:
    return {flow_run.state_name or "" for flow_run in flow_runs(client, name)}


def flow_runs(client: SyncPrefectClient, name: str) -> list[FlowRun]:
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
