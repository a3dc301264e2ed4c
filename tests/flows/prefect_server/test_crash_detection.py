"""A server with automations, such as that of `overnight schedule serve`, marks nights that were killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from overnight.flows.prefect_server.embedded import EmbeddedServer
from tests.accidents import wait_until
from tests.command_server import RunningCommand
from tests.flows.night.test_artifacts import flow_runs
from tests.flows.night.test_kill import wait_for_run
from tests.prefect_database import MigratedDatabase


@pytest.fixture
def prefect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated_database: MigratedDatabase) -> Iterator[str]:
    """The address of such a server, in place of that of all tests, which has none."""
    monkeypatch.setenv("PREFECT_HOME", str(migrated_database.home(tmp_path / "prefect")))
    monkeypatch.setenv("PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED", "true")
    server = EmbeddedServer()
    try:
        server.wait()
        with temporary_settings({PREFECT_API_URL: server.url}):
            yield server.url
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.prefect
def test_the_server_marks_a_killed_night_as_crashed_although_the_run_is_not_resumed(
    endless: RunningCommand, client: SyncPrefectClient
):
    run_id = wait_for_run(endless)
    name = f"{run_id}-night-1"
    wait_until(lambda: name in flow_runs(client, run_id))
    time.sleep(5)  # time for its first heartbeat
    endless.send_signal(signal.SIGKILL)
    endless.communicate()
    wait_until(lambda: flow_runs(client, run_id)[name].state.name == "Crashed", timeout_s=200)
    assert "no heartbeat" in flow_runs(client, run_id)[name].state.message
