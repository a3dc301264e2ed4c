"""Fresh containers: each runs one program."""

from __future__ import annotations

from schemas.errors import SandboxUnavailable
from schemas.outcome import Outcome
from tasks.evaluate.pool import FreshContainerPool
from tests.evaluate.test_container_worker import JOB, FakeRunner, good


class Launcher:
    """Starts fake runners, and counts them."""

    def __init__(self) -> None:
        self.runners: list[FakeRunner] = []
        self.is_broken = False

    def __call__(self) -> FakeRunner:
        if self.is_broken:
            raise SandboxUnavailable("the engine is gone")
        self.runners.append(FakeRunner(good))
        return self.runners[-1]


def test_each_program_gets_a_container_that_has_run_nothing_and_none_is_started_before():
    launcher = Launcher()
    pool = FreshContainerPool(JOB, launcher, slots=2)
    assert launcher.runners == []
    assert pool.evaluate("x").is_scored
    assert pool.evaluate("y").is_scored
    assert [runner.closed for runner in launcher.runners] == [True, True]
    pool.close()


def test_one_that_cannot_be_started_is_a_sandbox_error_and_the_next_one_is_tried():
    launcher = Launcher()
    pool = FreshContainerPool(JOB, launcher, slots=1)
    launcher.is_broken = True
    verdict = pool.evaluate("x")
    assert (verdict.outcome, verdict.error) == (Outcome.SANDBOX_ERROR, "the engine is gone")
    launcher.is_broken = False
    assert pool.evaluate("x").is_scored
    pool.close()


def test_a_closed_pool_starts_nothing():
    launcher = Launcher()
    pool = FreshContainerPool(JOB, launcher, slots=1)
    pool.close()
    assert pool.evaluate("x").error == "the sandbox was closed"
    assert launcher.runners == []
