"""Scheduled nights whose Prefect server restarts or has a wrong state: they end by their own stop conditions."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow_engine
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.states import Cancelling, Crashed

import overnight.flows.schedules.scheduled_night  # noqa: F401  (as the first import of a night's process)
from overnight.flows.prefect_server.embedded import EmbeddedServer, using_server
from overnight.flows.prefect_server.night_state import CORRECTION
from overnight.tasks.history.database import Database
from tests.accidents import wait_until
from tests.command_server import start_command
from tests.conftest import ON_PROCESSES
from tests.flows.cli.conftest import call
from tests.prefect_database import MigratedDatabase

pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated_database: MigratedDatabase) -> Iterator[EmbeddedServer]:
    """A standing server that is restarted when it is killed, as by systemd."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(migrated_database.home(tmp_path_factory.mktemp("prefect"))))
        started = EmbeddedServer(with_services=True)
        started.wait()
        started.keep_running(lambda _: None)
        yield started
        started.stop()


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[SyncPrefectClient]:
    with using_server(server), get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def worker(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an `overnight serve` that runs nights of that server."""
    home = tmp_path_factory.mktemp("client")
    environment = {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(home), **ON_PROCESSES}
    with Path(os.devnull).open("r+") as nothing:
        streams = (nothing.fileno(), nothing.fileno(), nothing.fileno())
        serving = start_command(["serve"], {**os.environ, **environment, "PREFECT_WORKER_QUERY_SECONDS": "1"}, streams)
    yield environment
    serving.send_signal(signal.SIGINT)
    serving.wait(60)


def scheduled(
    client: SyncPrefectClient, problem: Path, history: Path, worker: dict[str, str], name: str, *, generations: int
) -> DeploymentResponse:
    """Schedule a problem; return the deployment of its nights."""
    line = ["schedule", "add", str(problem), "--cron", "0 22 * * *", "--name", name, "--seed", "1"]
    done = call([*line, "--generations", str(generations)], history, **worker)
    assert done.returncode == 0, done.stderr
    (deployment,) = [found for found in client.read_deployments() if found.name == name]
    return deployment


def committed(history: Path) -> int:
    return len(list(history.glob("runs/*/generations/*")))


def state_of(client: SyncPrefectClient, night: UUID) -> State[Any]:
    state = client.read_flow_run(night).state
    assert state is not None
    return state


def test_a_scheduled_night_survives_its_server_and_corrects_its_state(
    server: EmbeddedServer, client: SyncPrefectClient, worker: dict[str, str], slow_toy: Path, tmp_path: Path
):
    history = tmp_path / "history"
    deployment = scheduled(client, slow_toy, history, worker, "survives", generations=100_000)
    assert deployment.global_concurrency_limit is None, "Prefect ends a night whose lease it cannot renew"
    night = client.create_flow_run_from_deployment(deployment.id).id
    wait_until(lambda: committed(history) > 2)

    killed = server.pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: server.pid != killed)
    before = committed(history)
    wait_until(lambda: committed(history) > before + 1, lambda: f"no generation after {before}")

    # As the automation does if heartbeats are missed while the server is down or the machine sleeps.
    client.set_flow_run_state(night, Crashed(message="no heartbeat for 90 s"), force=True)
    wait_until(lambda: state_of(client, night).is_running())
    assert state_of(client, night).message == CORRECTION
    before = committed(history)
    wait_until(lambda: committed(history) > before + 1, lambda: f"no generation after {before}")

    # The run's lock prevents a second night, and cancelling still ends the first.
    second = client.create_flow_run_from_deployment(deployment.id).id
    wait_until(lambda: state_of(client, second).is_final())
    assert state_of(client, second).is_cancelled()
    assert "under way in another process" in str(state_of(client, second).message)
    client.set_flow_run_state(night, Cancelling())
    wait_until(lambda: state_of(client, night).is_cancelled())
    wait_until(lambda: nights(history)[0]["stop_reason"] == "interrupted")
    assert len(nights(history)) == 1


def test_a_night_wrongly_marked_as_crashed_is_completed_at_its_end(
    client: SyncPrefectClient, worker: dict[str, str], slow_toy: Path, tmp_path: Path
):
    history = tmp_path / "history"
    deployment = scheduled(client, slow_toy, history, worker, "corrected", generations=5)
    night = client.create_flow_run_from_deployment(deployment.id).id
    wait_until(lambda: committed(history) > 1)
    client.set_flow_run_state(night, Crashed(message="no heartbeat for 90 s"), force=True)
    wait_until(lambda: nights(history)[0]["stop_reason"] == "generations")
    wait_until(lambda: state_of(client, night).is_completed(), lambda: str(state_of(client, night)))


def test_a_night_continues_if_the_lease_of_a_0_1_deployment_cannot_be_renewed(client: SyncPrefectClient):
    unknown = uuid4()
    with pytest.raises(httpx.HTTPStatusError, match="410 Gone"):
        client.renew_concurrency_lease(unknown, 300.0)
    renewing = f"concurrency-lease-renewal-{unknown}"
    with flow_engine.maintain_concurrency_lease(unknown, 300, raise_on_lease_renewal_failure=True):  # pyright: ignore[reportPrivateImportUsage]
        wait_until(lambda: renewing not in {thread.name for thread in threading.enumerate()})
        has_continued = True
    assert has_continued


def nights(history: Path) -> list[dict[str, Any]]:
    return Database(history).rows("FROM nights ORDER BY night")
