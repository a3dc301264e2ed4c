"""When a program is run again, and how often at worst, over each kind of sandbox."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from overnight.schemas.bundle import Source
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.job import Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.pool import FreshContainerPool, SandboxPool
from overnight.tasks.evaluate.sandbox import MAX_RUNS, MAX_SOURCE, Death, RunnerConfig, Sandbox, SandboxBackend
from tests.evaluate.test_confirmation import SPECIFICATION, claim
from tests.evaluate.test_container_worker import FakeRunner, good

SCORED = Verdict(Outcome.SCORED, (1.0,))
LOST, ENDED = Death("the container ended"), Death("the engine is gone")
OOM = Death("exit code 137", out_of_memory=True)


class Scripted(Sandbox):
    """A sandbox in which each run of a program ends as it is written down, and the honest one as `honest` is."""

    def __init__(self, *found: Verdict | Death, honest: Verdict | Death = SCORED) -> None:
        super().__init__(Job("f", (), Limits(memory_mib=64), honest="honest"))
        self.found, self.honest = list(found), honest
        self.asked: list[Source] = []

    def run(self, source: Source) -> Verdict | Death:
        self.asked.append(source)
        return self.honest if source == "honest" else self.found.pop(0)

    def close(self) -> None:
        self._closing.set()


@pytest.mark.parametrize(
    ("found", "verdict", "asked"),
    [
        ([SCORED], SCORED, ["x"]),
        ([LOST, SCORED], SCORED, ["x", "x"]),
        ([LOST, ENDED, SCORED], SCORED, ["x", "x", "honest", "x"]),
        (
            [LOST, ENDED, LOST],
            Verdict(Outcome.SANDBOX_ERROR, error="the container ended; the engine is gone"),
            ["x", "x", "honest", "x"],
        ),
        (
            [OOM, OOM],
            Verdict(Outcome.OUT_OF_MEMORY, error="used more than 64 MiB, and its container was ended"),
            ["x", "x"],
        ),
        (
            [OOM, LOST, LOST],
            Verdict(Outcome.SANDBOX_ERROR, error="exit code 137; the container ended"),
            ["x", "x", "honest", "x"],
        ),
    ],
    ids=["at once", "again", "after the honest program", "not at all", "out of memory twice", "out of memory once"],
)
def test_a_program_that_is_lost_is_run_again(found: list[Verdict | Death], verdict: Verdict, asked: list[str]):
    sandbox = Scripted(*found)
    assert sandbox.evaluate("x") == verdict
    assert sandbox.asked == asked


def test_where_the_honest_program_cannot_be_run_either_no_program_is_judged():
    sandbox = Scripted(LOST, LOST, SCORED, honest=ENDED)
    with pytest.raises(SandboxUnavailable, match="no candidate can be run: the container ended"):
        sandbox.evaluate("x")
    assert sandbox.asked == ["x", "x", "honest"]


def test_a_sandbox_that_is_closed_runs_nothing_and_is_at_no_fault():
    sandbox = Scripted(honest=ENDED)
    sandbox.close()
    assert sandbox.evaluate("x") == Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")
    assert sandbox.asked == []


def test_a_too_long_program_is_not_run():
    assert Scripted().evaluate("x" * (MAX_SOURCE + 1)).outcome is Outcome.CRASHED


class Killed(FakeRunner):
    """A runner that ends whenever it is sent a program other than the honest one, which it notes in `runs`."""

    def __init__(self, runs: list[bytes]) -> None:
        super().__init__(good)
        self.runs = runs

    def send(self, data: bytes, *, timeout_s: float) -> None:
        is_honest = SPECIFICATION.start_program.main.encode() in data
        if self.started and not is_honest:
            self.runs.append(data)
            self.out.append(b"")
            return
        super().send(data, timeout_s=timeout_s)


class KillingBackend:
    """Starts runners that programs kill."""

    own_users = True

    def __init__(self) -> None:
        self.runs: list[bytes] = []

    def start(self, config: RunnerConfig) -> Killed:
        return Killed(self.runs)

    def close(self) -> None: ...


def outcome_in_a_generation(sandbox: Sandbox) -> Outcome:
    """Evaluate a candidate as a generation does; return its outcome."""
    with ThreadPoolExecutor(1) as threads:
        evaluator = Evaluator(sandbox, SPECIFICATION, set, lambda *_: None, threads)
        ((_, verdict),) = evaluator.evaluate([claim(0, "5", 5.0).candidate], 1)
    return verdict.outcome


@pytest.mark.parametrize("kind", [SandboxPool, FreshContainerPool])
def test_a_generation_runs_a_program_that_ends_every_container_three_times(
    kind: type[SandboxPool | FreshContainerPool],
):
    backend = KillingBackend()
    job = Job("f", (), honest=SPECIFICATION.start_program)
    pool = kind(job, cast("SandboxBackend", backend), RunnerConfig("", 96), slots=2)
    assert outcome_in_a_generation(pool) is Outcome.SANDBOX_ERROR
    assert len(backend.runs) == MAX_RUNS == 3
    pool.close()
