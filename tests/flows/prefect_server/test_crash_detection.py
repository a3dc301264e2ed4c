"""A server with automations, such as that of `overnight schedule serve`, marks nights that were killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import Event
from prefect.settings import PREFECT_API_URL, temporary_settings

from overnight.flows.prefect_server.crash_detection import watch_for_crashes
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


@pytest.mark.parametrize("is_new", [True, False])
def test_where_the_rule_is_new_it_counts_a_heartbeat_of_the_night_that_has_begun(
    is_new: bool, monkeypatch: pytest.MonkeyPatch
):
    done: list[Any] = []
    client = Mock(create_automation=done.append, read_automations_by_name=lambda _: [] if is_new else [object()])

    def emit(name: str, resource: dict[str, str], related: list[dict[str, str]]) -> None:
        done.append(
            Event.model_validate(
                {"occurred": datetime.now(UTC), "event": name, "resource": resource, "related": related, "id": uuid4()}
            )
        )

    monkeypatch.setattr("prefect.events.emit_event", emit)
    watch_for_crashes(client, flow_run_id := uuid4())
    if not is_new:
        assert not done
        return
    rule, heartbeat = done
    assert heartbeat.resource.id == f"prefect.flow-run.{flow_run_id}"
    trigger = EventTrigger.model_validate(rule.trigger.model_dump(mode="json"))
    assert trigger.starts_after(heartbeat.event)
    assert trigger.covers(heartbeat.receive())


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
