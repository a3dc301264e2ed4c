"""Names, tags, states and artifacts of nights in Prefect, also of nights that were cancelled or killed."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterName,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.sorting import LogSort
from prefect.states import Cancelling, Pending

import overnight.flows.night.retry_policy
import overnight.flows.night.search
from overnight.flows.night.prefect_artifacts import _fenced
from overnight.flows.night.search import generation
from overnight.flows.night.stop_conditions import StopConditions, Tally, share_done
from overnight.tasks.history.database import Database
from tests.accidents import wait_until
from tests.command_server import RunningCommand
from tests.flows.conftest import Night
from tests.flows.night.test_kill import wait_for_run
from tests.flows.nights import containers

BEGIN = datetime(2026, 11, 25, 22, tzinfo=UTC)


def flow_runs(client: SyncPrefectClient, run_id: str) -> dict[str, Any]:
    """Return the last flow run of each name that begins with a run's id."""
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_=run_id)))
    return {flow_run.name: flow_run for flow_run in found}


def tasks_of(client: SyncPrefectClient, name: str) -> set[str]:
    """Return the names of the task runs of a flow run."""
    named = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
    return {run.name for run in client.read_task_runs(flow_run_filter=named)}


def artifacts(client: SyncPrefectClient, flow_run_id: Any) -> dict[str, Any]:
    of_flow_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    return {str(artifact.key): artifact for artifact in client.read_artifacts(artifact_filter=of_flow_run)}


def log_of(client: SyncPrefectClient, flow_run_id: Any) -> list[str]:
    """Return the lines in the log of a flow run, in the order of time."""
    mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    return [line.message for line in client.read_logs(log_filter=mine, sort=LogSort.TIMESTAMP_ASC)]


@pytest.mark.prefect
def test_a_night_has_names_tags_states_and_artifacts(prefect_night: Night, client: SyncPrefectClient):
    prefect_night(3, run_id="seen")
    runs = flow_runs(client, "seen")
    assert set(runs) == {"seen-night-1", "seen-g1", "seen-g2", "seen-g3"}
    over = runs["seen-night-1"]
    assert {"overnight", "seen", "toy"} <= set(over.tags)
    assert over.state.message.startswith("stopped by: generations; best ")
    assert "of 6 candidates scored; best " in runs["seen-g3"].state.message
    shown = artifacts(client, over.id)
    assert set(shown) == {"seen-progress", "seen-report"}
    assert shown["seen-progress"].data == 100
    assert "generation 3, over; 18 candidates" in shown["seen-progress"].description
    report = shown["seen-report"].data
    best = re.search(r"### The best program, (\w+)", report)
    assert best
    assert f"| {best[1]} |" in report
    scores = [float(row.split(" | ")[1].replace("\\", "").replace("−", "-")) for row in _best_rows(report)]
    assert report.startswith(f"## Guess a number: {scores[0]:.6g}\n")
    assert scores == sorted(scores, reverse=True)
    assert "- night 1: 3 generations, 18 samples, $0.00, " in report
    assert "stopped by: generations" in report
    assert "def " in report
    assert "```diff\n--- start\n" in report
    assert "`overnight watch seen --port 8787" in report
    assert "](http://127.0.0.1:8787/)" in report
    assert "file://" not in report
    lines = log_of(client, over.id)
    assert [re.split("[:,]", line)[0] for line in lines] == [
        "started", "generation 1", "generation 2", "generation 3", "ended",
    ]  # fmt: skip
    assert re.fullmatch(r"generation 3: best \S+( \(new\))?; scored .*; cost so far \$0.00, [\d,]+ tokens", lines[-2])


def _best_rows(report: str) -> list[str]:
    """Return the rows of the table of best programs."""
    table = report.partition("### Best programs\n\n")[2].partition("\n\n")[0]
    return table.splitlines()[2:]


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
def test_progress_follows_the_stop_condition_nearest_to_its_limit(rules: dict[str, Any], share: float):
    now = BEGIN + timedelta(hours=8)
    tally = Tally(since=BEGIN, now=now, generations=3, samples=144, cost_usd=1.0, best=1.0)
    assert share_done(StopConditions(**rules), tally) == share


def test_a_program_cannot_leave_its_code_fence():
    assert _fenced("x = 1\n```\n# heading\n````", "python").startswith("`````python\n")
    assert _fenced("x = 1", "python") == "```python\nx = 1\n```"


@pytest.mark.docker
@pytest.mark.prefect
def test_a_night_cancelled_in_prefect_stops_at_once_and_can_be_resumed(
    endless: RunningCommand, client: SyncPrefectClient, tmp_path: Path
):
    run_id = wait_for_run(endless)
    name = f"{run_id}-night-1"
    # Task runs are recorded some seconds late.
    wait_until(lambda: {"sample-1", "evaluate-1", "select"} <= tasks_of(client, f"{run_id}-g1"))
    client.set_flow_run_state(flow_runs(client, run_id)[name].id, Cancelling())
    _, stderr = endless.communicate(timeout=40)
    assert endless.returncode == 130, stderr
    assert f"cancelled in Prefect, and stopped at once; continue with: overnight resume {run_id}" in stderr
    assert containers(run_id) == []
    state = flow_runs(client, run_id)[name].state
    assert (state.name, state.message) == (
        "Cancelled",
        f"stopped at once; continue with: overnight resume {run_id} --history {tmp_path}",
    )
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["stop_reason"] == "interrupted"


@pytest.mark.usefixtures("processes")
@pytest.mark.prefect
def test_resuming_a_run_marks_a_killed_night_and_its_generation_as_crashed(
    endless: RunningCommand, prefect_night: Night, client: SyncPrefectClient, tmp_path: Path
):
    run_id = wait_for_run(endless)
    wait_until(lambda: any("-g" in name for name in flow_runs(client, run_id)))
    endless.send_signal(signal.SIGKILL)
    endless.communicate()
    assert flow_runs(client, run_id)[f"{run_id}-night-1"].state.name == "Running"
    not_started, other = (pending(client, run, tmp_path) for run in (run_id, f"{run_id}-other"))
    prefect_night(1, run_id=run_id)
    assert client.read_flow_run(not_started).state_name == "Crashed", "killed before Prefect had set its name"
    assert client.read_flow_run(other).state_name == "Pending"
    runs = flow_runs(client, run_id)
    assert runs[f"{run_id}-night-1"].state.name == "Crashed"
    assert runs[f"{run_id}-night-1"].state.message == "its process ended without setting a final state"
    assert runs[f"{run_id}-night-2"].state.name == "Completed"
    assert {flow_run.state.name for flow_run in runs.values()} == {"Crashed", "Completed"}


@pytest.mark.prefect
def test_a_night_waits_for_a_server_that_does_not_answer(
    prefect_night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    refused = iter(["[Errno 111] Connection refused"])

    def fails_first(*arguments: Any) -> None:
        if message := next(refused, None):
            raise httpx.ConnectError(message)
        generation(*arguments)

    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(overnight.flows.night.search, "generation", fails_first)
    prefect_night(2, settings={"search": {"retries": 0, "failures": 1}}, run_id="waiting")
    (row,) = Database(tmp_path).rows("FROM nights")
    assert (row["stop_reason"], row["generations"]) == ("generations", 2)
    assert row["paused_by"] == "the Prefect server does not answer: [Errno 111] Connection refused"


def pending(client: SyncPrefectClient, run_id: str, history: Path) -> UUID:
    """Create a generation's flow run in the state in which Prefect creates it, before it begins."""
    parameters = {"run_id": run_id, "number": 1, "history": str(history)}
    return client.create_flow_run(cast("Any", generation), parameters=parameters, state=Pending()).id
