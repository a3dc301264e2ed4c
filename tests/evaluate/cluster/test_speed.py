"""The speed of a machine, and time limits that mean the same work on a slower one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from schemas.bundle import Source
from schemas.job import Call, Job, Limits
from schemas.outcome import Outcome, Verdict
from tasks.evaluate.cluster import machine as tasks
from tasks.evaluate.cluster.messages import Answer, job_text, read_answer
from tasks.evaluate.cluster.speed import MAX_SCALE, measure, scale_of, with_longer_limits
from tests.evaluate.cluster.fake_cluster import REQUEST

JOB = Job("evaluate", (Call((3,)),), Limits(wall_s=2, cpu_s=3, memory_mib=64))


def took(cpu_s: float, wall_s: float | None = None) -> Verdict:
    return Verdict(Outcome.SCORED, (1.0,), cpu_s=cpu_s, wall_s=cpu_s if wall_s is None else wall_s)


TIMED_OUT = Verdict(Outcome.TIMED_OUT, error="took too long")
BROKEN = Verdict(Outcome.SANDBOX_ERROR, error="the engine is gone")


class Sandbox:
    """Gives verdicts in order, the last one again and again."""

    def __init__(self, *verdicts: Verdict) -> None:
        self._verdicts = verdicts
        self.runs = 0

    def evaluate(self, source: Source) -> Verdict:
        self.runs += 1
        return self._verdicts[min(self.runs, len(self._verdicts)) - 1]

    def close(self) -> None:
        pass


def test_the_run_that_was_disturbed_least_counts():
    assert measure(Sandbox(took(0.3), took(0.1), took(0.2)), "x").cpu_s == 0.1


@pytest.mark.parametrize(("seconds", "at_least", "runs"), [(0.01, 1, 5), (0.6, 1, 2), (60, 1, 1), (60, 2, 2)], ids=str)
def test_a_short_program_runs_more_often_than_a_long_one(seconds: float, at_least: int, runs: int):
    sandbox = Sandbox(took(seconds))
    measure(sandbox, "x", at_least=at_least)
    assert sandbox.runs == runs


def test_a_run_without_a_score_ends_the_measurement():
    sandbox = Sandbox(took(0.1), TIMED_OUT)
    assert (measure(sandbox, "x"), sandbox.runs) == (TIMED_OUT, 2)


@pytest.mark.parametrize(
    ("verdict", "scale"),
    [(took(2.5), 2.5), (took(1.0), 1.0), (took(0.2), 1.0), (took(50.0), 4.0), (TIMED_OUT, 4.0), (BROKEN, 1.0)],
    ids=["slower", "as fast", "faster", "much slower", "too slow for the longest limits", "broken"],
)
def test_limits_are_longer_by_how_much_slower_the_machine_is_but_never_shorter_nor_more_than_4_times(
    verdict: Verdict, scale: float
):
    assert scale_of(verdict, head_cpu_s=1.0) == scale


def test_both_time_limits_are_longer_and_all_else_stays():
    assert with_longer_limits(JOB, 2.5) == replace(JOB, limits=Limits(wall_s=5, cpu_s=7.5, memory_mib=64))
    implied = replace(JOB, limits=Limits(wall_s=2))
    assert with_longer_limits(implied, 2).limits == Limits(wall_s=4)
    assert with_longer_limits(JOB, 1.0) == JOB


class SlowMachine:
    """This process as a machine, on which the start program takes some seconds.

    Attributes:
        verdict: Verdict on the start program.
        opened: Limit on wall-clock time and slots of each pool, in order.
    """

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.opened: list[tuple[float, int]] = []

    def open_pool(self, job: Job, *, slots: int, **_: object) -> Sandbox:
        self.opened.append((job.limits.wall_s, slots))
        return Sandbox(self.verdict)

    def open_job(self, *, head_cpu_s: float | None, is_fresh: bool = False) -> Answer:
        request = REQUEST.model_copy(
            update={"job": job_text(JOB), "slots": 3, "is_fresh": is_fresh, "head_cpu_s": head_cpu_s}
        )
        return read_answer(tasks.open_job(request.model_dump_json()))


class Backend:
    """A backend that has every image."""

    def image_id(self, image: str) -> str:
        return image

    def require(self, image: str, runtime: str | None) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowMachine]:
    slow = SlowMachine(took(2.5))
    monkeypatch.setattr(tasks, "create_backend", lambda _: Backend())
    monkeypatch.setattr(tasks, "open_pool", slow.open_pool)
    monkeypatch.setattr(tasks, "open_fresh_pool", slow.open_pool)
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(tasks.close_all)
        yield slow


@pytest.mark.parametrize("is_fresh", [False, True], ids=["evaluations", "confirmations"])
def test_a_slow_machine_measures_with_the_longest_limits_and_opens_the_job_with_those_that_fit(
    slow: SlowMachine, is_fresh: bool
):
    assert slow.open_job(head_cpu_s=1.0, is_fresh=is_fresh) == Answer(facts={"scale": "2.50"})
    assert slow.opened == [(2 * MAX_SCALE, 1), (2 * 2.5, 3)]


def test_a_machine_that_is_as_fast_keeps_the_limits(slow: SlowMachine):
    assert slow.open_job(head_cpu_s=2.5) == Answer()
    assert slow.opened == [(2 * MAX_SCALE, 1), (2, 3)]


def test_without_a_time_of_the_head_nothing_is_measured(slow: SlowMachine):
    assert slow.open_job(head_cpu_s=None) == Answer()
    assert slow.opened == [(2, 3)]


def test_a_machine_that_cannot_run_the_start_program_does_not_open_the_job(slow: SlowMachine):
    slow.verdict = BROKEN
    assert slow.open_job(head_cpu_s=1.0) == Answer(fault="the engine is gone")
    assert len(slow.opened) == 1
