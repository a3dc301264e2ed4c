"""A machine keeps a job open for as long as its head holds the lease."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from overnight.schemas.bundle import Source
from overnight.schemas.job import Call, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.cluster import machine as tasks
from overnight.tasks.evaluate.cluster.machine import Lease
from overnight.tasks.evaluate.cluster.messages import Answer, Request, job_text, read_answer, source_text
from overnight.tasks.evaluate.sandbox import Death, Sandbox
from tests.accidents import wait_until

REQUEST = Request(
    job=job_text(Job("evaluate", (Call((3,)),), Limits(wall_s=1), honest="honest")),
    image="sha256:1",
    backend="made",
    runtime=None,
    labels={},
    slots=1,
    is_fresh=False,
)


class FakePool(Sandbox):
    """A pool that scores each program, but `killer`, which ends its container; and `long` once it is closed.

    Attributes:
        is_closed: Set once it was closed.
        asked: Programs that were run.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.is_closed = threading.Event()
        self.asked: list[Source] = []

    def run(self, source: Source) -> Verdict | Death:
        self.asked.append(source)
        if source == "killer":
            return Death("the container ended", out_of_memory=True)
        if source == "long":
            self.is_closed.wait(60)
        return Death("closed") if self.is_closed.is_set() else Verdict(Outcome.SCORED, (1.0,))

    def close(self) -> None:
        self.is_closed.set()


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakePool]]:
    """The pools that were opened."""
    opened: list[FakePool] = []

    def open_pool(job: Job, **_: Any) -> FakePool:
        opened.append(FakePool(job))
        return opened[-1]

    engine = SimpleNamespace(close=lambda: None, image_id=lambda _: "", require=lambda *_: None)
    monkeypatch.setattr(tasks, "create_backend", lambda _: engine)
    monkeypatch.setattr(tasks, "open_pool", open_pool)
    yield opened
    tasks.close_all()


def open_job(lease: Lease) -> str:
    """Open the job; return the fault."""
    return read_answer(tasks.open_job(lease, REQUEST.model_dump_json())).fault


def evaluate(key: str, program: str = "program") -> Answer:
    return read_answer(tasks.run(key, source_text(program)))


def test_a_job_is_open_until_its_head_lets_go_of_the_lease(pools: list[FakePool]):
    lease = Lease("one")
    assert open_job(lease) == ""
    verdict = evaluate("one").verdict
    assert verdict is not None
    assert verdict["outcome"] == "scored"
    del lease
    wait_until(pools[0].is_closed.is_set)
    assert evaluate("one").fault == "the job is not open here"


def test_a_program_that_runs_does_not_keep_the_job_open_and_has_no_verdict(pools: list[FakePool]):
    lease = Lease("one")
    open_job(lease)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(evaluate, "one", "long")
        wait_until(running.running)
        del lease
        assert running.result(60) in (Answer(fault="closed"), Answer(fault="the job is not open here"))


def test_a_program_that_is_lost_on_a_sound_machine_is_run_once_and_the_head_is_told_why(pools: list[FakePool]):
    lease = Lease("one")
    open_job(lease)
    assert evaluate("one", "killer") == Answer(lost="the container ended", out_of_memory=True)
    assert pools[0].asked == ["honest", "killer", "honest"]
    assert evaluate("one").verdict


def test_jobs_of_several_heads_end_each_for_itself(pools: list[FakePool]):
    leases = {name: Lease(name) for name in ("one", "two")}
    assert [open_job(lease) for lease in leases.values()] == ["", ""]
    del leases["one"]
    wait_until(pools[0].is_closed.is_set)
    assert evaluate("two").verdict
    assert not pools[1].is_closed.is_set()


@pytest.mark.parametrize("error", [OSError("no descriptor is free"), RuntimeError("no thread can be started")])
def test_no_containers_stay_where_the_honest_program_cannot_be_run(
    pools: list[FakePool], monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_: object) -> Verdict:
        raise error

    monkeypatch.setattr(FakePool, "run", fail)
    with contextlib.suppress(RuntimeError):
        assert "no descriptor is free" in open_job(Lease("one"))
    assert [pool.is_closed.is_set() for pool in pools] == [True]
    assert not tasks._JOBS
