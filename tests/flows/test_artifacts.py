"""A night as it is seen in Prefect: names, tags, states, artifacts; and what becomes of one that was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Pending

import flows.search
from flows.artifacts import _fenced
from flows.generation import generation
from flows.stop_conditions import StopConditions, Tally, share_done
from tasks.history.database import Database
from tests.flows.conftest import Night
from tests.flows.test_kill import wait_for_run
from tests.flows.test_search import containers

BEGIN = datetime(2026, 11, 25, 22, tzinfo=UTC)


@pytest.fixture
def client(prefect: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def flow_runs(client: SyncPrefectClient, run_id: str) -> dict[str, Any]:
    """The last flow run of each name that begins with a run's id."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

    found = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_=run_id)))
    return {one.name: one for one in found}


def artifacts(client: SyncPrefectClient, flow_run_id: Any) -> dict[str, Any]:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    of = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    return {str(one.key): one for one in client.read_artifacts(artifact_filter=of)}


def until(condition: Any, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.2)
    return met


@pytest.mark.docker
@pytest.mark.prefect
def test_names_tags_states_and_artifacts_read_well(night: Night, client: SyncPrefectClient):
    night(3, run_id="seen")
    runs = flow_runs(client, "seen")
    assert set(runs) == {"seen-night-1", "seen-g1", "seen-g2", "seen-g3"}
    over = runs["seen-night-1"]
    assert {"overnight", "seen", "toy"} <= set(over.tags)
    assert over.state.message.startswith("stopped by: generations; best ")
    assert "of 6 candidates scored; best " in runs["seen-g3"].state.message
    shown = artifacts(client, over.id)
    assert set(shown) == {"seen-progress", "seen-best-programs", "seen-best"}
    assert shown["seen-progress"].data == 100
    assert "generation 3, over; 18 candidates" in shown["seen-progress"].description
    rows = json.loads(shown["seen-best-programs"].data)
    scores = [float(row["score"].replace("−", "-")) for row in rows]
    assert scores == sorted(scores, reverse=True)
    best = shown["seen-best"].data
    assert f"`{rows[0]['program']}` of run `seen`" in best
    assert "def " in best
    assert "```diff\n--- start\n" in best
    assert "overnight report seen" in best


@pytest.mark.parametrize(
    ("rules", "share"),
    [
        ({}, 0),
        ({"generations": 10}, 0.3),
        ({"generations": 10, "budget_usd": 2.0}, 0.5),
        ({"until": BEGIN + timedelta(hours=10), "generations": 10}, 0.8),
        ({"max_samples": 100}, 1.0),
        ({"until": BEGIN - timedelta(hours=1)}, 1.0),
        ({"budget_usd": 0.0, "target": 5.0, "patience": 3}, 0),
    ],
)
def test_progress_is_what_the_nearest_rule_says(rules: dict[str, Any], share: float):
    tally = Tally(generations=3, samples=144, cost_usd=1.0, best=1.0)
    assert share_done(StopConditions(**rules), tally, BEGIN, BEGIN + timedelta(hours=8)) == share


def test_a_program_cannot_leave_its_fence():
    assert _fenced("x = 1\n```\n# heading\n````", "python").startswith("`````python\n")
    assert _fenced("x = 1", "python") == "```python\nx = 1\n```"


@pytest.fixture
def endless(prefect: str, toy: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A night in the foreground that nothing ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", "run", str(toy), "--generations", "100000"],
        env={**os.environ, "PREFECT_API_URL": prefect, "OVERNIGHT_HISTORY": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.docker
@pytest.mark.prefect
def test_cancelled_in_prefect_a_night_stops_at_once_and_can_be_resumed(
    endless: subprocess.Popen[str], client: SyncPrefectClient, tmp_path: Path
):
    from prefect.states import Cancelling

    run_id = wait_for_run(endless)
    name = f"{run_id}-night-1"
    assert until(lambda: name in flow_runs(client, run_id))
    client.set_flow_run_state(flow_runs(client, run_id)[name].id, Cancelling())
    _, said = endless.communicate(timeout=40)
    assert endless.returncode == 130, said
    assert f"cancelled in Prefect, and stopped at once; continue with: overnight resume {run_id}" in said
    assert containers(run_id) == []
    state = flow_runs(client, run_id)[name].state
    assert (state.name, state.message) == (
        "Cancelled",
        f"stopped at once; go on with: overnight resume {run_id} --history {tmp_path}",
    )
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["stop_reason"] == "interrupted"


@pytest.mark.docker
@pytest.mark.prefect
def test_a_night_that_was_killed_and_its_generation_are_shown_as_crashed_when_the_run_goes_on(
    endless: subprocess.Popen[str], night: Night, client: SyncPrefectClient, tmp_path: Path
):
    run_id = wait_for_run(endless)
    assert until(lambda: any("-g" in name for name in flow_runs(client, run_id)))
    endless.send_signal(signal.SIGKILL)
    endless.communicate()
    assert flow_runs(client, run_id)[f"{run_id}-night-1"].state.name == "Running"
    unborn, other = (pending(client, whose, tmp_path) for whose in (run_id, f"{run_id}-other"))
    night(1, run_id=run_id)
    assert client.read_flow_run(unborn).state_name == "Crashed", "killed before it had begun, and had its name"
    assert client.read_flow_run(other).state_name == "Pending"
    runs = flow_runs(client, run_id)
    assert runs[f"{run_id}-night-1"].state.name == "Crashed"
    assert runs[f"{run_id}-night-1"].state.message == "its process ended without a word"
    assert runs[f"{run_id}-night-2"].state.name == "Completed"
    assert {one.state.name for one in runs.values()} == {"Crashed", "Completed"}


@pytest.mark.docker
@pytest.mark.prefect
def test_a_night_waits_for_a_server_that_does_not_answer(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    refused = iter(["[Errno 111] Connection refused"])

    def reached(*arguments: Any) -> None:
        if said := next(refused, None):
            raise httpx.ConnectError(said)
        generation(*arguments)

    monkeypatch.setattr(flows.search, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(flows.search, "generation", reached)
    night(2, settings={"search": {"retries": 0, "failures": 1}})
    (row,) = Database(tmp_path).rows("FROM nights")
    assert (row["stop_reason"], row["generations"]) == ("generations", 2)
    assert row["paused_by"] == "the Prefect server does not answer: [Errno 111] Connection refused"


def pending(client: SyncPrefectClient, run_id: str, history: Path) -> UUID:
    """A generation's flow run as Prefect makes it, a moment before it begins."""
    parameters = {"run_id": run_id, "number": 1, "history": str(history)}
    return client.create_flow_run(cast("Any", generation), parameters=parameters, state=Pending()).id


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.prefect
def test_a_night_that_was_killed_is_shown_as_crashed_where_nobody_goes_on(
    endless: subprocess.Popen[str], client: SyncPrefectClient
):
    run_id = wait_for_run(endless)
    name = f"{run_id}-night-1"
    assert until(lambda: name in flow_runs(client, run_id))
    time.sleep(5)  # its first heartbeat is on its way
    endless.send_signal(signal.SIGKILL)
    endless.communicate()
    assert until(lambda: flow_runs(client, run_id)[name].state.name == "Crashed", seconds=200)
    assert "no heartbeat" in flow_runs(client, run_id)[name].state.message
