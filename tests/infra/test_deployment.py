"""Deployment files: nights on a real Prefect server, and services for systemd."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.prefect_server.connection import answers
from overnight.flows.schedules.deployments import POOL
from overnight.flows.schedules.scheduled_night import Deadline, Start
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "infra/systemd").glob("*.service"))
BIN = Path(sys.executable).parent


@pytest.fixture
def deployed(prefect: str) -> Iterator[list[Any]]:
    """The nights of the file, deployed on the tests' server with the commands in its first lines."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    file = ROOT / "infra/prefect.yaml"
    commands = re.findall(r"^#   (prefect .*)$", file.read_text(), re.MULTILINE)
    create, deploy, _worker = commands
    for command in (f"{create} --overwrite", deploy):
        done = subprocess.run(
            [BIN / "prefect", *command.split()[1:]],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": prefect},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with get_client(sync_client=True) as client:
        names = re.findall(r"^  - <<: \*night\n    name: (\S+)", file.read_text(), re.MULTILINE)
        found = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=["night"])))
        found = [deployment for deployment in found if deployment.name in names]
        yield found
        for deployment in found:
            client.delete_deployment(deployment.id)


@pytest.mark.prefect
def test_the_file_deploys_nights_by_module_without_a_concurrency_limit(
    deployed: list[Any], capsys: pytest.CaptureFixture[str]
):
    from overnight.flows.cli.main import run

    assert deployed
    for deployment in deployed:
        assert deployment.entrypoint == "overnight.flows.schedules.scheduled_night.night"
        assert deployment.pull_steps == [{"prefect.deployments.steps.set_working_directory": {"directory": "/"}}]
        assert deployment.global_concurrency_limit is None, "a limit would end nights while their server is away"
        assert deployment.schedules[0].schedule.timezone
        Start.model_validate(deployment.parameters["start"])
        StopConditions.model_validate(deployment.parameters["rules"])
        Deadline.model_validate(deployment.parameters["deadline"])
    assert run(["schedule", "list"]) == 0
    assert f" {deployed[0].name} " in capsys.readouterr().out


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_the_units(unit: Path, tmp_path: Path):
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/overnight/.venv/bin", str(BIN)))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class Service:
    """A unit as systemd starts it: its command, with only its own environment and a user's.

    Args:
        name: `server` or `worker`.
        folder: Replacement for the folders of the machine that the unit names.
        port: Replacement for the port that the unit names.
    """

    def __init__(self, name: str, folder: Path, port: int) -> None:
        text = (ROOT / f"infra/systemd/overnight-{name}.service").read_text()
        text = text.replace("/opt/overnight/.venv/bin", str(BIN)).replace("/var/lib/overnight", str(folder))
        text = text.replace("4200", str(port))
        (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        (self.stop_s,) = [int(found) for found in re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)] or [90]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)}
        given = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command.split(),
                cwd=folder,
                env={**environment, **given},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(self.stop_s)
        finally:
            self.process.kill()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; fail if the service ends before."""
        end = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.2)


@pytest.mark.slow
def test_the_services_start_find_each_other_and_stop_on_request(tmp_path: Path):
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    with Service("server", tmp_path, port) as server:
        server.wait_for(lambda: answers(url))
        password = (tmp_path / "state/overnight/prefect-password").read_text().strip()
        with (
            temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password}),
            get_client(sync_client=True) as client,
            Service("worker", tmp_path, port) as worker,
        ):
            worker.wait_for(lambda: "running scheduled nights" in worker.log.read_text())
            worker.wait_for(lambda: any(pool.name == POOL and _is_ready(pool) for pool in client.read_work_pools()))
        assert worker.process.returncode in (0, -signal.SIGTERM), worker.log.read_text()
    assert server.process.returncode in (0, -signal.SIGTERM), server.log.read_text()


def _is_ready(pool: Any) -> bool:
    return pool.status is not None and pool.status.value == "READY"


def test_the_server_unit_starts_overnight_s_server_and_shares_its_state_with_the_worker():
    given = {
        unit.stem: dict(re.findall(r"^(?:Environment=)?(\w+)=(.*)$", unit.read_text(), re.MULTILINE)) for unit in UNITS
    }
    server, worker = given["overnight-server"], given["overnight-worker"]
    assert server["ExecStart"].endswith("python -m overnight.flows.prefect_server.process 4200")
    assert server["XDG_STATE_HOME"] == worker["XDG_STATE_HOME"]
    assert (server["UMask"], server["StateDirectoryMode"]) == ("0077", "0700")
    assert "PREFECT_API_URL" not in worker, "the password goes to no server that is named"
