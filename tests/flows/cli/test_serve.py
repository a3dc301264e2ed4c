"""`overnight schedule serve` starts a Prefect server that plans scheduled nights and has a UI, and runs these nights.

They end by their own stop conditions, whatever becomes of the server, of their process and of their state.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

from overnight.flows.prefect_server.access import server_password
from overnight.flows.prefect_server.embedded import RESTARTS
from overnight.flows.prefect_server.night_state import CORRECTION
from overnight.tasks.history.database import Database
from tests.accidents import wait_until
from tests.command_server import RunningCommand, start_command
from tests.conftest import ON_PROCESSES
from tests.flows.cli.conftest import call
from tests.flows.schedules.test_worker import kill_all
from tests.notification_receiver import NotificationReceiver
from tests.ports import free_port
from tests.prefect_database import MigratedDatabase
from tests.standing import process

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("processes")]


class Serving(NamedTuple):
    """A running `overnight schedule serve`: the address of its server, and its process."""

    address: str
    process: RunningCommand


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_database: MigratedDatabase) -> Path:
    """The folder that is used as PREFECT_HOME."""
    return migrated_database.home(tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Serving]:
    """An `overnight schedule serve` that all tests share; the last test ends it."""
    port = free_port()
    own = {"PREFECT_API_URL": "", "PREFECT_HOME": str(home), "PREFECT_WORKER_QUERY_SECONDS": "1", **ON_PROCESSES}
    serving = start_command(["schedule", "serve", "--port", str(port)], {**os.environ, **own})
    assert serving.stderr is not None
    try:
        message = serving.stderr.readline()
        assert f"http://127.0.0.1:{port};" in message
        yield Serving(f"http://127.0.0.1:{port}", serving)
    finally:
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=60)


def test_scheduled_nights_are_planned_and_the_pages_answer(served: Serving, home: Path, toy: Path, tmp_path: Path):
    with urllib.request.urlopen(served.address, timeout=20) as page:
        assert "<html" in page.read().decode()
    assert (home / "overnight-pages").is_dir(), "the pages are not unpacked into the environment"
    schedule(served, toy, tmp_path, name="planned")
    with client_of(served) as client:
        wait_until(lambda: bool(client.read_flow_runs()))
        assert all(night.state is not None and night.state.is_scheduled() for night in client.read_flow_runs())


def test_the_metrics_need_the_password_and_are_there(served: Serving):
    address = f"{served.address}/api/overnight/metrics"
    assert httpx.get(address, timeout=20).status_code == 401
    user, _, password = server_password().partition(":")
    answer = httpx.get(address, auth=(user, password), timeout=20)
    assert answer.status_code == 200
    assert "overnight_history_readable 1.0" in answer.text


@pytest.mark.slow
def test_serve_ends_with_a_message_if_its_server_ends_too_often(tmp_path: Path):
    own = {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path)}
    serving = subprocess.Popen(
        [sys.executable, "-m", "overnight.flows.cli.main", "schedule", "serve", "--port", str(free_port())],
        env={**os.environ, **own},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert serving.stderr is not None
    serving.stderr.readline()
    while serving.poll() is None:
        if pid := child_of(serving, b"overnight.flows.prefect_server.process"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    output = serving.stderr.read()
    assert serving.returncode == 3, output
    assert output.count("is restarted") == RESTARTS
    assert "Prefect's server has ended too often" in output
    assert "Traceback" not in output, output


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_night_goes_on_once_serve_runs_again_after_a_power_failure(
    migrated_database: MigratedDatabase, slow_toy: Path, tmp_path: Path
):
    port = free_port()
    own = {
        "PREFECT_API_URL": "",
        "PREFECT_HOME": str(migrated_database.home(tmp_path)),
        "OVERNIGHT_SLOTS": str(tmp_path),
    }
    command = [sys.executable, "-m", "overnight.flows.cli.main", "schedule", "serve", "--port", str(port)]
    database = Database(tmp_path / "history")
    with process(tmp_path / "serve.log", *command, **own) as first:
        wait_until(lambda: "running scheduled nights" in (tmp_path / "serve.log").read_text(), timeout_s=120)
        served = Serving(f"http://127.0.0.1:{port}", cast("RunningCommand", first))
        schedule(served, slow_toy, tmp_path, "--until", "2h", "--generations", "4", name="killed")
        with client_of(served) as client:
            client.create_flow_run_from_deployment(client.read_deployments()[0].id)
        wait_until(lambda: any((tmp_path / "history").glob("runs/*/generations/000001/*")), timeout_s=120)
        kill_all(first.pid)
    with process(tmp_path / "serve.log", *command, **own):
        nights = "SELECT stop_reason FROM nights ORDER BY night"
        wait_until(
            lambda: [row["stop_reason"] for row in database.rows(nights)] == [None, "generations"], timeout_s=240
        )


def test_a_night_survives_a_wrong_state_goes_on_after_a_kill_and_finishes_its_generation_after_ctrl_c(
    served: Serving, slow_toy: Path, tmp_path: Path, mailbox: NotificationReceiver
):
    history = tmp_path / "history"
    schedule(served, slow_toy, tmp_path, "--until", "2h", "--notify", mailbox.address, name="killed")
    with client_of(served) as client:
        deployment = deployment_of(client, "killed")
        assert deployment.global_concurrency_limit is None, "Prefect ends a night whose lease it cannot renew"
        night = client.create_flow_run_from_deployment(deployment.id).id
        wait_until(lambda: committed(history) > 1)
        # As the automation does if heartbeats are missed while the server is down or the machine sleeps.
        client.set_flow_run_state(night, Crashed(message="no heartbeat for 90 s"), force=True)
        wait_until(lambda: state_of(client, night).is_running())
        assert state_of(client, night).message == CORRECTION
    os.kill(child_of(served.process, b"prefect.engine"), signal.SIGKILL)
    wait_for_generations(history, 2)
    assert [message["title"].partition(", ")[2] for message in mailbox.messages] == ["a night has died"]
    assert "; it is begun again" in mailbox.messages[0]["message"]
    served.process.send_signal(signal.SIGINT)
    _, output = served.process.communicate(timeout=60)
    assert served.process.returncode == 0
    assert "finish their generation" in output
    assert re.search(r", night 2: generation \d+: best ", output), "the lines of a night's log are on stderr"
    database = Database(history)
    first, ended = database.rows("SELECT stop_reason, ended_at, generations FROM nights ORDER BY night")
    assert (first["stop_reason"], ended["stop_reason"]) == (None, "interrupted")
    assert ended["ended_at"] is not None
    last = database.rows("SELECT max(generation) AS last FROM generations")[0]["last"]
    assert first["generations"] + ended["generations"] == last


@pytest.fixture
def mailbox() -> Iterator[NotificationReceiver]:
    with NotificationReceiver() as running:
        yield running


def deployment_of(client: SyncPrefectClient, name: str) -> DeploymentResponse:
    (found,) = [deployment for deployment in client.read_deployments() if deployment.name == name]
    return found


def state_of(client: SyncPrefectClient, night: UUID) -> State[Any]:
    state = client.read_flow_run(night).state
    assert state is not None
    return state


def committed(history: Path) -> int:
    return len(list(history.glob("runs/*/generations/*")))


def wait_for_generations(history: Path, further: int) -> None:
    before = committed(history)
    wait_until(lambda: committed(history) >= before + further, lambda: f"no generation after {before}")


def child_of(serving: RunningCommand, module: bytes) -> int:
    """Return the id of its child process that runs a module; 0 while there is none."""
    for listed in Path(f"/proc/{serving.pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for pid in listed.read_text().split():
                if module in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
    return 0


def schedule(served: Serving, problem: Path, tmp_path: Path, *limits: str, name: str) -> None:
    """Schedule a problem on the server."""
    line = ["schedule", "add", str(problem), "--cron", "0 22 * * *", "--name", name, *limits]
    environment = {"PREFECT_API_URL": f"{served.address}/api", "PREFECT_HOME": str(tmp_path / "client")}
    done = call(line, tmp_path / "history", **environment)
    assert done.returncode == 0, done.stderr


@contextmanager
def client_of(served: Serving) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: f"{served.address}/api"}), get_client(sync_client=True) as client:
        yield client
