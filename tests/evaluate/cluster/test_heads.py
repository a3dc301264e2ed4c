"""A machine ends the jobs of a head that it no longer hears of."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.job import Call, Job, Limits
from schemas.outcome import Outcome, Verdict
from tasks.evaluate.cluster import machine as tasks
from tasks.evaluate.cluster.heads import do_for, sign_of_life
from tasks.evaluate.cluster.messages import Answer, Exchange, Request, job_text, read_answer, source_text
from tests.accidents import wait_until

REQUEST = Request(
    job=job_text(Job("evaluate", (Call((3,)),), Limits(wall_s=1))),
    image="sha256:1",
    backend="made",
    runtime=None,
    labels={},
    honest=source_text("honest"),
    slots=1,
    is_fresh=False,
)
NAMES = (f"head-{number}" for number in itertools.count())
NUMBERS = itertools.count(1)


class FakePool:
    """A pool that scores each program.

    Attributes:
        is_closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.is_closed = False

    def evaluate(self, source: object) -> Verdict:
        del source
        return Verdict(Outcome.SANDBOX_ERROR if self.is_closed else Outcome.SCORED, () if self.is_closed else (1.0,))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakePool]]:
    """The pools that were opened, on a machine that looks for its heads all the time."""
    opened: list[FakePool] = []

    def open_pool(*_: Any, **__: Any) -> FakePool:
        opened.append(FakePool())
        return opened[-1]

    engine = SimpleNamespace(close=lambda: None, image_id=lambda _: "", require=lambda *_: None)
    monkeypatch.setattr(tasks, "create_backend", lambda _: engine)
    monkeypatch.setattr(tasks, "open_pool", open_pool)
    monkeypatch.setattr(tasks, "_LOOK_S", 0.01)
    monkeypatch.setattr(tasks, "_SILENT_LOOKS", 20)
    yield opened
    tasks.close_all()


def open_job(head: str) -> str:
    """Have a head open the job; return the fault."""
    return read_answer(do_for(head, tasks.open_job, REQUEST.model_dump_json())).fault


def outcome(head: str) -> str:
    """Have a head ask for a verdict; return its outcome."""
    answer = ask_for_verdict(head)
    assert answer.verdicts, answer.fault
    (verdict,) = answer.verdicts.values()
    return verdict["outcome"]


def ask_for_verdict(head: str) -> Answer:
    number = next(NUMBERS)
    message = Exchange(job=REQUEST.key, channel=head, number=number, programs={str(number): source_text("honest")})
    return read_answer(do_for(head, tasks.exchange, message.model_dump_json()))


def test_a_job_is_ended_once_its_head_is_silent(pools: list[FakePool]):
    assert open_job(next(NAMES)) == ""
    wait_until(lambda: pools[0].is_closed)


def test_a_job_stays_open_while_one_of_its_heads_is_heard_of(pools: list[FakePool]):
    killed, resumed = next(NAMES), next(NAMES)
    assert open_job(killed) == ""
    assert open_job(resumed) == ""
    assert len(pools) == 1, "the resumed night has the same job"
    other = next(NAMES)
    for _ in range(100):  # five times the looks that it takes
        do_for(resumed, sign_of_life)
        assert not pools[0].is_closed
        wait_for_a_look()
    do_for(other, sign_of_life)
    wait_until(lambda: pools[0].is_closed)


def wait_for_a_look() -> None:
    looked, tasks_of = [], tasks.tasks_of

    def look(heads: set[str]) -> int:
        looked.append(heads)
        return tasks_of(heads)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tasks, "tasks_of", look)
        wait_until(lambda: bool(looked))


def test_a_head_that_speaks_again_gets_its_job_again(pools: list[FakePool]):
    head = next(NAMES)
    open_job(head)
    wait_until(lambda: pools[0].is_closed)
    assert outcome(head) == "scored"
    assert len(pools) == 2
    wait_until(lambda: pools[1].is_closed)


def test_a_job_that_its_head_ended_is_not_opened_again(pools: list[FakePool]):
    head = next(NAMES)
    open_job(head)
    wait_until(lambda: pools[0].is_closed)
    do_for(head, tasks.close_job, REQUEST.key)
    assert ask_for_verdict(head).fault == "the job is not open here"
    assert len(pools) == 1


def test_a_job_that_one_head_ends_stays_open_for_the_others(pools: list[FakePool]):
    first, second = next(NAMES), next(NAMES)
    assert open_job(first) == open_job(second) == ""
    do_for(first, tasks.close_job, REQUEST.key)
    assert outcome(second) == "scored"
    do_for(second, tasks.close_job, REQUEST.key)
    assert [pool.is_closed for pool in pools] == [True]
    assert ask_for_verdict(second).fault == "the job is not open here"


def test_a_job_that_was_opened_again_for_one_head_is_used_by_the_others_too(pools: list[FakePool]):
    first, second = next(NAMES), next(NAMES)
    assert open_job(first) == open_job(second) == ""
    wait_until(lambda: pools[0].is_closed)
    assert outcome(first) == outcome(second) == "scored"
    do_for(first, tasks.close_job, REQUEST.key)
    assert outcome(second) == "scored"


def test_a_head_that_was_killed_does_not_keep_the_job_of_another_open(pools: list[FakePool]):
    killed, resumed = next(NAMES), next(NAMES)
    assert open_job(killed) == open_job(resumed) == ""
    heads = tasks._MACHINE.jobs[REQUEST.key].heads

    def is_forgotten() -> bool:
        do_for(resumed, sign_of_life)
        return killed not in heads

    wait_until(is_forgotten)
    do_for(resumed, tasks.close_job, REQUEST.key)
    assert pools[0].is_closed


@pytest.mark.parametrize("error", [OSError("no descriptor is free"), RuntimeError("no thread can be started")])
def test_no_containers_stay_where_the_honest_program_cannot_be_run(
    pools: list[FakePool], monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_: object) -> Verdict:
        raise error

    monkeypatch.setattr(FakePool, "evaluate", fail)
    with contextlib.suppress(RuntimeError):
        assert "no descriptor is free" in open_job(next(NAMES))
    assert [pool.is_closed for pool in pools] == [True]
    assert not tasks._MACHINE.jobs
