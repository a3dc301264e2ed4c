"""The first prompts of a night are asked before its Prefect server answers: once, and within all of its limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient

from overnight.flows.night import reporting
from overnight.flows.night.night import Night
from overnight.flows.night.open_run import OpenRun, open_run
from overnight.flows.night.search import NIGHT, search
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.start.create_run import create_run
from overnight.flows.start.trust import accept
from overnight.schemas.errors import DiskFault, PrefectUnavailable
from overnight.schemas.program import Prompt
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.providers.relay import requests_in
from overnight.testing.fake_provider import Provider
from tests.accidents import wait_until
from tests.in_process import InProcess

NewRun = Callable[..., RunFiles]
RUN = f"early-{os.getpid()}"
"""Id of the run: other processes of the test run have others on the same server."""

SAMPLES = 6
"""Samples of a generation of the toy problem."""

IN_FLIGHT = 4
"""Samples in flight."""


@pytest.fixture
def new_run(toy: Path, tmp_path: Path, asks: dict[str, Any], in_process: InProcess) -> NewRun:
    """Function that creates a run whose models are on loopback."""

    def create(**settings: Any) -> RunFiles:
        sampling = {"concurrency": IN_FLIGHT, **asks["sampling"]}
        by_samples = {"seconds": 0}  # however long Prefect takes, a generation ends with its samples
        given = {"sandbox": {"slots": 1}, "search": by_samples, **asks, "sampling": sampling, **settings}
        problem = load_problem(toy, given)
        accept(problem, given)
        return create_run(problem, toy, LocalBackend(tmp_path), seed=1, run_id=RUN)

    return create


@pytest.fixture
def opened(new_run: NewRun) -> Iterator[OpenRun]:
    with open_run(new_run()) as run:
        yield run


@contextmanager
def begun(run: OpenRun, rules: StopConditions) -> Iterator[Night]:
    """Begin a night, and wait for the answers to its first prompts."""
    with Night(run, rules).begun() as night:
        run.sampler.finish(60)
        yield night


def ask_early(run: OpenRun, rules: StopConditions) -> None:
    """Begin a night that ends before its flow run starts, with the answers to its first prompts."""
    with begun(run, rules):
        pass


def asked(provider: Provider) -> int:
    """Return how many samples were asked for."""
    return sum(request.get("n", 1) for request in provider.requests)


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect")
def test_the_night_takes_the_answers_over_and_buys_nothing_twice(
    new_run: NewRun, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked_for_state: list[object] = []
    monkeypatch.setattr(SyncPrefectClient, "read_task_run", lambda *asked: asked_for_state.append(asked))
    rules = StopConditions(generations=1)
    with open_run(new_run()) as run, begun(run, rules) as night:
        assert asked(provider) == run.progress.samples == IN_FLIGHT
        NIGHT.set(night)
        search(RUN, str(tmp_path), rules)
        NIGHT.set(None)
        assert run.state.generations == 1
        assert run.progress.samples == SAMPLES
    assert asked(provider) == SAMPLES
    assert asked_for_state == [], "a task that waits for another one asks the server for nothing"


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect")
def test_answers_for_a_night_that_never_began_are_used_by_the_next(new_run: NewRun, provider: Provider, tmp_path: Path):
    files = new_run()
    with open_run(files) as run:
        ask_early(run, StopConditions(generations=1))
    search(RUN, str(tmp_path), StopConditions(generations=1))
    assert asked(provider) == SAMPLES


@pytest.mark.parametrize(
    "rules",
    [
        {"target": -100.0},
        {"until": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
    ids=lambda rules: next(iter(rules)),
)
def test_nothing_is_asked_where_a_stop_condition_forbids_it(opened: OpenRun, provider: Provider, rules: dict[str, Any]):
    ask_early(opened, StopConditions(**rules))
    assert asked(provider) == 0


def test_no_more_samples_are_asked_than_the_limit_allows(opened: OpenRun, provider: Provider):
    ask_early(opened, StopConditions(max_samples=1))
    assert asked(provider) == 1


def test_the_deadline_holds_for_what_is_asked_early(opened: OpenRun, provider: Provider):
    until = datetime.now(UTC) + timedelta(hours=1)
    ask_early(opened, StopConditions(until=until, max_tokens=1))
    assert opened.limits.until == until
    assert asked(provider) <= 2, "the budget in tokens holds, too: one request, and those beside it wait"


def test_a_night_that_is_killed_before_its_flow_run_starts_has_a_row_with_all_that_it_paid(
    new_run: NewRun, provider: Provider, tmp_path: Path
):
    model = {"name": "openai/test", "api_base": provider.api_base, "input_usd": 1000, "output_usd": 1000}
    files = new_run(sampling={"models": [model], "concurrency": IN_FLIGHT, "attempts": 1, "batch": 1})
    with open_run(files) as run, begun(run, StopConditions(generations=1)):
        (row,) = Database(tmp_path).rows("SELECT night, state, cost_usd FROM nights")
        (paid,) = Database(tmp_path).rows("SELECT sum(cost_usd) AS usd FROM costs")
    assert asked(provider) == IN_FLIGHT
    assert row == {"night": 1, "state": "running", "cost_usd": pytest.approx(paid["usd"])}
    assert paid["usd"] > 0


def test_the_row_is_there_before_the_first_request(
    opened: OpenRun, provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise DiskFault("the disk is full", remedy="")

    monkeypatch.setattr(record, "write_night", fail)
    with pytest.raises(DiskFault):
        ask_early(opened, StopConditions(generations=1))
    assert provider.requests == []


def test_a_night_without_its_prefect_server_ends_with_the_reason(opened: OpenRun, tmp_path: Path):
    with pytest.raises(PrefectUnavailable), begun(opened, StopConditions(generations=1)):
        raise PrefectUnavailable("the server did not start", remedy="")
    (row,) = Database(tmp_path).rows("SELECT state, stop_reason, error FROM nights")
    assert row == {"state": "ended", "stop_reason": "failed", "error": "the server did not start"}


def test_a_night_that_waits_is_seen_to_be_alive(opened: OpenRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reporting, "RENEWAL_S", 0.01)

    def alive_until() -> datetime:
        until = stored_run.read_night(opened.files, 1, {}).alive_until
        assert until is not None
        return until

    with begun(opened, StopConditions(generations=1)):
        first = alive_until()
        assert first - datetime.now(UTC) <= timedelta(minutes=2), "a killed night is soon told apart"
        wait_until(lambda: alive_until() > first, lambda: str(alive_until()), timeout_s=60)


def test_nothing_is_asked_early_of_a_batch_api(new_run: NewRun, provider: Provider, asks: dict[str, Any]):
    asks["sampling"] |= {"batch_api": True}
    with open_run(new_run()) as run:
        ask_early(run, StopConditions(generations=1))
    assert provider.requests == []


def test_what_a_relay_never_answers_is_cancelled_at_the_end_of_the_night(new_run: NewRun, tmp_path: Path):
    folder = tmp_path / "relay"
    prompt = Prompt(0, "0", (), f"relay:{folder}", "chat", "improve this", (1,))
    files = new_run(sampling={"models": [{"name": prompt.model}], "timeout_s": 0.1})
    with ThreadPoolExecutor(1) as thread:
        with open_run(files) as run:
            waiting = thread.submit(run.sampler.sample, 1, [prompt])
            wait_until(lambda: requests_in(folder) != [], lambda: "the request", timeout_s=60)
        try:
            with pytest.raises(CancelledError):
                waiting.result(10)
        finally:
            run.sampler.give_up()  # so that the thread ends whatever is found


def test_an_error_beside_a_relay_that_never_answers_ends_the_night(new_run: NewRun, tmp_path: Path):
    folder = tmp_path / "relay"
    prompt = Prompt(0, "0", (), f"relay:{folder}", "chat", "improve this", (1,))
    files = new_run(sampling={"models": [{"name": prompt.model}], "timeout_s": 0.1})
    with ThreadPoolExecutor(1) as thread, open_run(files) as run:
        waiting = thread.submit(run.sampler.sample, 1, [prompt])
        wait_until(lambda: requests_in(folder) != [], lambda: "the request", timeout_s=60)
        with pytest.raises(ZeroDivisionError), Night(run, StopConditions(generations=1)).begun():
            raise ZeroDivisionError
        with pytest.raises(CancelledError):
            waiting.result(10)
