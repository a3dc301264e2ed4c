"""Scheduled nights whose process died: begun again or given up, and told, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.blocks.system import Secret
from prefect.workers.process import ProcessWorker

from overnight.flows.schedules import night_worker
from overnight.flows.schedules.night_worker import NightWorker, _note_death
from overnight.flows.schedules.scheduled_night import NotificationSettings
from overnight.schemas.errors import EnvironmentFault
from overnight.schemas.generation import NightRecord
from overnight.tasks.history import record
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.night_log import read_log
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import create, grow
from tests.notification_receiver import NotificationReceiver


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    """A run whose only night has no end: it runs, or was killed."""
    made = create(tmp_path)
    grow(made, 2)
    alive = datetime.now(UTC) + timedelta(minutes=10)
    record.write_night(made, NightRecord(1, datetime.now(UTC), -9.0, 1.0, "x", alive_until=alive))
    return files_of(open_history(str(tmp_path)), made.run_id)


def state(files: RunFiles) -> str:
    (row,) = Database(files.backend.root).rows("SELECT state FROM nights")
    return row["state"]


@pytest.mark.parametrize(("why_not", "becomes"), [("", "running"), ("it has died 4 times", "given up")])
def test_a_death_is_told_and_what_nobody_goes_on_with_is_given_up(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch, why_not: str, becomes: str
):
    parameters = {"run_id": files.run_id, "history": files.backend.location}
    with NotificationReceiver() as mailbox:
        monkeypatch.setenv("OVERNIGHT_NOTIFY", mailbox.address)
        _note_death(parameters, "the night has died", why_not, pytest.fail)
    (message,) = mailbox.messages
    assert (message["type"], f"overnight resume {files.run_id}" in message["message"]) == ("failure", True)
    assert state(files) == becomes
    assert any("given up: it has died 4 times" in text for _, text in read_log(files)) == bool(why_not)


def test_a_night_that_somebody_has_open_is_not_given_up(files: RunFiles):
    with run_lock(files):
        _note_death({"run_id": files.run_id, "history": files.backend.location}, "it has died", "it was", pytest.fail)
    assert state(files) == "running"


class Server:
    """What a worker asks of Prefect's server, with one night that has died.

    Attributes:
        faults: Errors of the next requests to plan it anew, in order; then it is planned.
        label_fault: Error of every request to note that its death was told.
        planned: Keys with which it was planned anew.
    """

    def __init__(self, files: RunFiles) -> None:
        self.parameters: dict[str, Any] = {
            "run_id": files.run_id,
            "history": files.backend.location,
            "deadline": {"until": "12h", "time_zone": "UTC"},
        }
        self.faults: list[Exception] = []
        self.label_fault: Exception | None = None
        self.planned: list[str] = []
        self._id, self._deployment = uuid4(), uuid4()

    async def read_flow_runs(self, **_: object) -> list[Any]:
        due = datetime.now(UTC)
        return [
            SimpleNamespace(
                id=self._id,
                deployment_id=self._deployment,
                expected_start_time=due,
                parameters=self.parameters,
                labels={},
            )
        ]

    async def read_deployment(self, _: UUID) -> Any:
        return SimpleNamespace(paused=False)

    async def create_flow_run_from_deployment(self, _: UUID, *, idempotency_key: str, **__: object) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.planned.append(idempotency_key)

    async def update_flow_run_labels(self, *_: object) -> None:
        if self.label_fault is not None:
            raise self.label_fault


def answer(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://localhost/api")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status, text="no such parameter"))


@pytest.fixture
def server(files: RunFiles) -> Server:
    return Server(files)


@pytest.fixture
def polled(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Function that lets a worker poll so many times, and returns what it reported."""

    async def none(_: object) -> list[Any]:
        return []

    monkeypatch.setattr(ProcessWorker, "get_and_submit_flow_runs", none)
    monkeypatch.delenv("OVERNIGHT_NOTIFY", raising=False)

    def poll(times: int) -> list[str]:
        said: list[str] = []
        worker = NightWorker("overnight", report=said.append)
        worker._client = cast("Any", server)

        async def all_polls() -> None:
            for _ in range(times):
                await worker.get_and_submit_flow_runs()
                assert worker.has_polled_lately, "other nights start all the same"

        asyncio.run(all_polls())
        return said

    return poll


@pytest.mark.parametrize("fault", [httpx.ConnectError("no server"), answer(503), answer(429), answer(408)])
def test_a_night_that_cannot_be_planned_in_an_outage_is_planned_at_the_next_poll(
    server: Server, polled: Callable[[int], list[str]], fault: Exception
):
    server.faults = [fault]
    (told,) = polled(4)
    assert "it is begun again" in told
    assert len(server.planned) == 1


@pytest.mark.parametrize("status", [503, 429, 408])
def test_a_poll_that_the_server_does_not_answer_does_not_end_serve(monkeypatch: pytest.MonkeyPatch, status: int):
    async def refuse(*_: object, **__: object) -> NoReturn:
        raise answer(status)

    worker = NightWorker("overnight")
    worker._client = cast("Any", SimpleNamespace(read_flow_runs=refuse))
    monkeypatch.setattr(ProcessWorker, "sync_with_backend", refuse)
    assert asyncio.run(worker.get_and_submit_flow_runs()) == []
    asyncio.run(worker.sync_with_backend())
    assert not worker.has_polled_lately


def test_a_night_that_the_server_refuses_is_given_up(
    server: Server, files: RunFiles, polled: Callable[[int], list[str]]
):
    server.faults = [answer(409)] * 9
    (told,) = polled(4)
    assert "it is given up, since Prefect's server refuses it: no such parameter" in told
    assert (len(server.faults), state(files)) == (8, "given up")


def _cannot_open(_: str) -> NoReturn:
    raise EnvironmentFault("the bucket is gone")


def _break_label(server: Server, _: pytest.MonkeyPatch) -> None:
    server.label_fault = answer(404)


def _break_history(server: Server, patch: pytest.MonkeyPatch) -> None:
    server.parameters["deadline"] = None
    patch.setattr(night_worker, "open_history", _cannot_open)


def _break_parameters(server: Server, _: pytest.MonkeyPatch) -> None:
    server.parameters["deadline"] = {"until": "12h"}


@pytest.mark.parametrize("breaks", [_break_label, _break_history, _break_parameters])
def test_a_fault_in_telling_of_a_death_is_reported_once_and_ends_nothing(
    server: Server,
    polled: Callable[[int], list[str]],
    breaks: Callable[[Server, pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
):
    breaks(server, monkeypatch)
    assert len([text for text in polled(4) if "failed: " in text]) == 1


def test_addresses_that_an_outage_hides_are_only_a_warning(monkeypatch: pytest.MonkeyPatch):
    def load(_: str) -> NoReturn:
        raise httpx.ConnectError("no server")

    monkeypatch.setattr(Secret, "load", load)
    said: list[str] = []
    NotificationSettings(secret="phone").notifier(said.append)
    assert said == ["no notifications are sent for this night: no server"]
