"""Schedules on a real Prefect server: created, listed, changed, removed, and refused if invalid."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import overnight.flows.prefect_server.embedded
from overnight.flows.cli.main import run
from tests.ports import free_port

pytestmark = pytest.mark.prefect


@pytest.fixture
def scheduled(toy: Path, tmp_path: Path, prefect: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """A name and a function that schedules the toy problem under it; the schedule is removed after the test."""
    name = f"toy-{secrets.token_hex(4)}"

    def schedule(*more: str) -> tuple[int, str]:
        line = ["schedule", "add", str(toy), "--name", name, "--history", str(tmp_path), *more]
        return run([*line] if "--cron" in more else [*line, "--cron", "0 22 * * 1-5"]), capsys.readouterr().err

    yield name, schedule
    run(["schedule", "remove", name])


def deployment(name: str) -> Any:
    """Return the Prefect deployment of a schedule."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name(f"night/{name}")


def test_a_schedule_is_a_deployment_that_names_its_flow_by_module(scheduled: Any, toy: Path, tmp_path: Path):
    name, schedule = scheduled
    code, output = schedule("--until", "07:00", "--time-zone", "Europe/Stockholm", "--budget", "5", "--seed", "3")
    assert code == 0
    assert "22:00 CE" in output
    created = deployment(name)
    assert created.entrypoint == "overnight.flows.schedules.scheduled_night.night"
    assert created.schedules[0].schedule.cron == "0 22 * * 1-5"
    assert created.schedules[0].schedule.timezone == "Europe/Stockholm"
    assert created.parameters["rules"] == {"budget_usd": 5.0}
    assert created.parameters["deadline"] == {"until": "07:00", "time_zone": "Europe/Stockholm"}
    assert created.parameters["start"] == {
        "problem": str(toy),
        "settings": {},
        "starts": [],
        "seed": 3,
        "accepted": [],
    }
    assert created.parameters["history"] == str(tmp_path)


def test_schedules_are_listed_with_their_stop_conditions(scheduled: Any, capsys: pytest.CaptureFixture[str]):
    name, schedule = scheduled
    schedule("--until", "7h", "--total-budget", "20", "--time-zone", "UTC")
    assert run(["schedule", "list"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith(f"{name} ")]
    for part in ("0 22 * * 1-5", "UTC", "until 7h, total budget 20", "22:00"):
        assert part in row


def test_a_schedule_is_paused_and_resumed(scheduled: Any):
    name, schedule = scheduled
    schedule()
    assert run(["schedule", "pause", name]) == 0
    assert deployment(name).paused
    assert run(["schedule", "resume", name]) == 0
    assert not deployment(name).paused


def test_a_change_keeps_the_other_parameters(scheduled: Any):
    name, schedule = scheduled
    schedule("--until", "07:00", "--time-zone", "UTC", "--budget", "5")
    before = deployment(name).parameters
    assert run(["schedule", "change", name, "--cron", "30 23 * * *", "--max-tokens", "9"]) == 0
    after = deployment(name)
    assert after.schedules[0].schedule.cron == "30 23 * * *"
    assert after.parameters == before | {"rules": {"budget_usd": 5.0, "max_tokens": 9}}


def test_a_change_drops_stop_conditions(scheduled: Any, capsys: pytest.CaptureFixture[str]):
    name, schedule = scheduled
    schedule("--until", "07:00", "--time-zone", "UTC", "--budget", "5", "--max-tokens", "9")
    assert run(["schedule", "change", name, "--drop", "until", "--drop", "budget"]) == 0
    after = deployment(name).parameters
    assert (after["deadline"], after["rules"]) == (None, {"max_tokens": 9})
    assert run(["schedule", "change", name, "--drop", "nonsense"]) == 2
    assert "expected one of until, generations, max-samples" in capsys.readouterr().err
    assert run(["schedule", "change", name, "--drop", "max-tokens", "--max-tokens", "4"]) == 2
    assert "contradict each other" in capsys.readouterr().err


def test_removing_a_schedule_keeps_the_run_and_prints_how_to_continue(
    scheduled: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    name, schedule = scheduled
    schedule()
    created = deployment(name)
    start_night(created.id)
    assert run(["schedule", "remove", name]) == 0
    run_id = created.parameters["run_id"]
    assert f"its run stays, continue it with: overnight resume {run_id} --history {tmp_path}" in capsys.readouterr().err
    assert run(["schedule", "pause", name]) == 2
    assert f"no schedule '{name}'" in capsys.readouterr().err


def start_night(deployment_id: Any) -> None:
    """Create a running flow run of a deployment."""
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    with get_client(sync_client=True) as client:
        client.create_flow_run_from_deployment(deployment_id, state=Running())


def test_removing_a_schedule_before_its_first_night_leaves_no_run(scheduled: Any, capsys: pytest.CaptureFixture[str]):
    name, schedule = scheduled
    schedule()
    assert run(["schedule", "remove", name]) == 0
    assert "none of its nights had started" in capsys.readouterr().err


def test_a_name_can_be_used_once(scheduled: Any):
    name, schedule = scheduled
    schedule()
    code, error = schedule()
    assert code == 2
    assert f"overnight schedule remove {name}" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cron", "0 22 * *"], "--cron '0 22 * *': expected five fields, got 4"),
        (["--cron", "0 0 31 2 *"], "names no time"),
        (["--cron", "@reboot"], "--cron '@reboot'"),
        (["--pool", "x/y"], "--pool: expected a name without /"),
        (["--notify-gain", "nan"], "--notify-gain"),
        (["--time-zone", "Nowhere"], "unknown time zone 'Nowhere'"),
        (["--until", "2099-01-01T07:00"], "occurs once, not every night"),
    ],
)
def test_invalid_flags_are_refused_before_anything_is_created(scheduled: Any, flags: list[str], message: str):
    code, error = scheduled[1](*flags)
    assert code == 2
    assert message in error


@pytest.mark.parametrize("cron", ["@daily", "0 22-6 * * *", "0 22 * * L5"])
def test_the_next_night_is_the_one_that_the_server_plans(scheduled: Any, cron: str, capsys: pytest.CaptureFixture[str]):
    from prefect.server.schemas.schedules import CronSchedule

    name, schedule = scheduled
    assert schedule("--cron", cron, "--time-zone", "UTC")[0] == 0
    (planned,) = asyncio.run(CronSchedule(cron=cron, timezone="UTC").get_dates(n=1))
    assert run(["schedule", "list", "--format", "json"]) == 0
    (row,) = [row for row in json.loads(capsys.readouterr().out) if row["schedule"] == name]
    assert datetime.fromisoformat(row["next_night"]) == planned
    assert run(["schedule", "change", name, "--cron", "@hourly"]) == 0


def test_a_schedule_without_a_next_time_does_not_hide_the_others(scheduled: Any, capsys: pytest.CaptureFixture[str]):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.schedules import CronSchedule

    name, schedule = scheduled
    schedule()
    created = deployment(name)
    with get_client(sync_client=True) as client:
        client.update_deployment_schedule(
            created.id, created.schedules[0].id, schedule=CronSchedule(cron="0 0 31 2 *", timezone="UTC")
        )
    assert run(["schedule", "list"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith(f"{name} ")]
    assert "0 0 31 2 *" in row
    assert run(["schedule", "resume", name]) == 0
    assert "next night unknown" in capsys.readouterr().err


def test_an_invalid_change_changes_nothing(scheduled: Any, capsys: pytest.CaptureFixture[str]):
    name, schedule = scheduled
    schedule("--time-zone", "UTC")
    before = deployment(name)
    for flags in (["--cron", "0 22 * * 1-5 *"], ["--until", "9999999999h"], ["--until", ""], ["--notify-gain", "inf"]):
        assert run(["schedule", "change", name, *flags, "--notify", "json://127.0.0.1/other"]) == 2
        assert flags[0] in capsys.readouterr().err
    after = deployment(name)
    assert (after.parameters, after.schedules) == (before.parameters, before.schedules)


def test_a_refused_schedule_leaves_no_address_on_the_server(scheduled: Any):
    from prefect.client.orchestration import get_client

    def names() -> set[str | None]:
        with get_client(sync_client=True) as client:
            response = client.request("POST", "/block_documents/filter", json={})
            return {document["name"] for document in response.json()}

    _, schedule = scheduled
    schedule()
    before = names()
    assert schedule("--notify", "json://127.0.0.1/path-secret-9")[0] == 2
    assert names() == before


def test_without_a_server_the_error_names_the_command_that_starts_one(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(overnight.flows.prefect_server.embedded, "DEFAULT_PORT", free_port())
    assert run(["schedule", "add", str(toy), "--cron", "0 22 * * *"]) == 3
    error = capsys.readouterr().err
    assert "none answers" in error
    assert "overnight schedule serve" in error


def test_notified_addresses_are_stored_as_a_secret_and_not_in_the_parameters(scheduled: Any, prefect: str):
    import httpx
    from prefect.blocks.system import Secret

    name, schedule = scheduled
    code, _ = schedule("--notify", "json://127.0.0.1/path-secret-9", "--notify-gain", "0.5")
    assert code == 0
    notices = deployment(name).parameters["notices"]
    assert notices == {"secret": f"overnight-{deployment(name).parameters['run_id']}", "gain": 0.5}
    assert Secret.load(notices["secret"]).get() == ["json://127.0.0.1/path-secret-9"]  # pyright: ignore[reportAttributeAccessIssue]
    for place in ("deployments", "block_documents"):
        user, _, password = os.environ["PREFECT_API_AUTH_STRING"].partition(":")
        answer = httpx.post(f"{prefect}/{place}/filter", json={}, auth=(user, password))
        assert answer.status_code == 200
        assert "path-secret-9" not in answer.text
    assert run(["schedule", "change", name, "--notify", "json://127.0.0.1/other"]) == 0
    assert deployment(name).parameters["notices"] == notices
    assert Secret.load(notices["secret"]).get() == ["json://127.0.0.1/other"]  # pyright: ignore[reportAttributeAccessIssue]
    assert run(["schedule", "remove", name]) == 0
    with pytest.raises(ValueError, match="Unable to find"):
        Secret.load(notices["secret"])
