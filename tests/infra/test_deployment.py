"""What is deployed from files: nights on a real Prefect server, and services that systemd would start."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.environment import SERVER
from flows.rules import StopRules
from flows.scheduled import Deadline, Start

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "infra/systemd").glob("*.service"))
BIN = Path(sys.executable).parent


@pytest.fixture
def deployed(prefect: str) -> Iterator[list[Any]]:
    """The nights of the file on the tests' server, deployed as its first lines say."""
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
        found = [one for one in found if one.name in names]
        yield found
        for one in found:
            client.delete_deployment(one.id)


@pytest.mark.prefect
def test_the_file_deploys_nights_by_module_one_at_a_time(deployed: list[Any], capsys: pytest.CaptureFixture[str]):
    from flows.cli.main import run

    assert deployed
    for one in deployed:
        assert one.entrypoint == "flows.scheduled.night"
        assert one.pull_steps == [{"prefect.deployments.steps.set_working_directory": {"directory": "/"}}]
        assert one.global_concurrency_limit.limit == 1
        assert one.concurrency_options.collision_strategy.value == "CANCEL_NEW"
        assert one.schedules[0].schedule.timezone
        Start.model_validate(one.parameters["start"])
        StopRules.model_validate(one.parameters["rules"])
        Deadline.model_validate(one.parameters["deadline"])
    assert run(["schedules"]) == 0
    assert f" {deployed[0].name} " in capsys.readouterr().out


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_units(unit: Path, tmp_path: Path):
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/overnight/.venv/bin", str(BIN)))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_servers_unit_sets_what_an_embedded_server_is_given():
    (unit,) = [unit for unit in UNITS if "server" in unit.name]
    given = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    assert given.items() >= SERVER.items()
    assert given["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
