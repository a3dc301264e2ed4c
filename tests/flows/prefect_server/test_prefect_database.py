"""The database of our Prefect servers: writes that met SQLite's lock, and deletion of old nights but nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterId, FlowRunFilter, FlowRunFilterId
from prefect.states import Completed, Running

from overnight.flows.night.search import search
from overnight.flows.prefect_server.lock_retries import LockRetries
from overnight.flows.prefect_server.pruning import VARIABLE, environment_of_pruning, forget_run, kept_for, prune
from overnight.flows.prefect_server.request_guard import Receive, Scope, Send
from overnight.schemas.errors import UsageError


@flow(name="search")
def another_program(text: str) -> None: ...


def ended(client: SyncPrefectClient, what: Any, parameters: dict[str, Any]) -> Any:
    run = client.create_flow_run(what, parameters=parameters, state=Running())
    client.set_flow_run_state(run.id, Completed(), force=True)
    return run.id


def age(home: Path, ids: list[Any], by: timedelta) -> None:
    with sqlite3.connect(home / "prefect.db", timeout=60) as database:
        for flow_run_id in ids:
            database.execute(
                "UPDATE flow_run SET end_time = datetime(end_time, ?) WHERE id = ?",
                (f"-{by.total_seconds():.0f} seconds", str(flow_run_id)),
            )
    database.close()


@pytest.mark.prefect
def test_only_old_nights_and_their_artifacts_are_deleted(client: SyncPrefectClient, prefect_home: Path):
    of_a_night = {"run_id": "pruned", "history": "/h", "rules": {"generations": 1}}
    old, new = (ended(client, search, of_a_night) for _ in range(2))
    others = ended(client, another_program, {"text": "not ours"})
    under_way = client.create_flow_run(cast("Any", search), parameters=of_a_night, state=Running()).id
    artifact = client.create_artifact(ArtifactCreate(key="pruned", type="markdown", data="x", flow_run_id=old)).id
    age(prefect_home, [old, others], timedelta(days=8))
    assert prune(client, datetime.now(UTC) - timedelta(days=7)) == 1
    made = FlowRunFilter(id=FlowRunFilterId(any_=[old, new, others, under_way]))
    assert {flow_run.id for flow_run in client.read_flow_runs(flow_run_filter=made)} == {new, others, under_way}
    made_of_it = ArtifactFilter(id=ArtifactFilterId(any_=[artifact]))
    assert client.read_artifacts(artifact_filter=made_of_it) == []
    assert prune(client, datetime.now(UTC) - timedelta(days=7)) == 0


@pytest.mark.prefect
def test_the_flow_runs_of_one_run_are_deleted(client: SyncPrefectClient):
    parameters = {"run_id": "check-1", "history": "/h", "rules": {"generations": 1}}
    made = [
        client.create_flow_run(cast("Any", search), parameters=parameters, name=name).id
        for name in ("check-1", "check-1-g1", "another")
    ]
    forget_run("check-1")
    left = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=made)))
    assert [flow_run.name for flow_run in left] == ["another"]


@pytest.mark.parametrize(("text", "days"), [("", 7), ("30d", 30), ("36h", 1.5), ("2w", 14)])
def test_the_retention_time_is_a_setting(text: str, days: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, text)
    assert kept_for() == timedelta(days=days)
    assert environment_of_pruning() == {"PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{days * 86400:.0f}S"}


@pytest.mark.parametrize("text", ["7", "0d", "soon", "-1d", "1.5d"])
def test_an_invalid_retention_time_is_refused(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(UsageError, match=VARIABLE):
        kept_for()


# The server repeats writing requests that met SQLite's lock


class Locked:
    """An application that is locked for its first requests, and then answers with the body that it got."""

    def __init__(self, refusals: int) -> None:
        self.requests = 0
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        scope["path"] += "/changed"
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status = 503 if self.requests <= self._refusals else 201
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode() + body})
        if status == 503:
            raise OSError("database is locked")  # as Starlette does


def answer(
    application: LockRetries, method: str = "POST", *, sent: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    request = [{"type": "http.request", "body": part, "more_body": part == b"a"} for part in (b"a", b"b")]
    sent = [] if sent is None else sent

    async def receive() -> dict[str, Any]:
        return request.pop(0) if request else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application({"type": "http", "method": method, "path": "/runs"}, receive, send))
    return sent


@pytest.mark.parametrize("refusals", [0, 1, 3])
def test_a_write_is_repeated_until_the_database_is_free(refusals: int):
    locked = Locked(refusals)
    start, body = answer(LockRetries(locked))
    assert (start["status"], body["body"]) == (201, b"/runs/changedab")
    assert locked.requests == refusals + 1


def test_a_database_that_stays_locked_is_told_after_a_while():
    locked = Locked(1000)
    sent: list[dict[str, Any]] = []
    with pytest.raises(OSError, match="database is locked"):
        answer(LockRetries(locked, within_s=0.2), sent=sent)
    assert sent[0]["status"] == 503
    assert locked.requests > 2


def test_what_only_reads_is_not_repeated():
    locked = Locked(1)
    with pytest.raises(OSError, match="database is locked"):
        answer(LockRetries(locked), "GET")
    assert locked.requests == 1
