"""Fresh containers: each runs one program, and the next ones are started ahead."""

from __future__ import annotations

import threading

from schemas.errors import SandboxUnavailable
from schemas.outcome import Outcome
from tasks.evaluate.pool import FreshContainerPool
from tests.evaluate.test_container_worker import JOB, FakeRunner, good


class Launcher:
    """Starts fake runners, and counts them."""

    def __init__(self) -> None:
        self.runners: list[FakeRunner] = []
        self.started = threading.Semaphore(0)
        self.is_broken = False
        self.error: Exception = SandboxUnavailable("the engine is gone")

    def __call__(self) -> FakeRunner:
        try:
            if self.is_broken:
                raise self.error
            self.runners.append(FakeRunner(good))
            return self.runners[-1]
        finally:
            self.started.release()

    def wait(self, number: int) -> None:
        for _ in range(number):
            assert self.started.acquire(timeout=60)


def test_nothing_is_started_before_the_first_program():
    launcher = Launcher()
    FreshContainerPool(JOB, launcher, slots=2).close()
    assert launcher.runners == []


def test_each_program_gets_a_container_that_has_run_nothing_and_the_next_ones_are_started_ahead():
    launcher = Launcher()
    pool = FreshContainerPool(JOB, launcher, slots=2)
    assert pool.evaluate("x").is_scored
    launcher.wait(1)
    assert pool.evaluate("y").is_scored
    launcher.wait(2)
    assert sorted(runner.closed for runner in launcher.runners) == [False, True, True], "one program each, one ahead"
    assert pool.evaluate("z").is_scored
    launcher.wait(2)
    pool.close()
    assert len(launcher.runners) == 5, "two ahead"
    assert all(runner.closed for runner in launcher.runners)


def test_one_that_cannot_be_started_ahead_is_no_error_before_it_is_needed():
    launcher = Launcher()
    pool = FreshContainerPool(JOB, launcher, slots=1)
    assert pool.evaluate("w").is_scored
    assert pool.evaluate("x").is_scored
    launcher.wait(3)
    pool._starters.submit(lambda: None).result()  # the one started ahead is ready
    launcher.is_broken = True
    assert pool.evaluate("y").is_scored, "started ahead"
    launcher.wait(1)
    verdict = pool.evaluate("z")
    assert (verdict.outcome, verdict.error) == (Outcome.SANDBOX_ERROR, "the engine is gone")
    launcher.wait(1)
    launcher.is_broken = False
    assert pool.evaluate("z").is_scored
    pool.close()
    assert all(runner.closed for runner in launcher.runners)


def test_containers_are_started_ahead_again_after_an_error_that_nobody_expected():
    launcher = Launcher()
    launcher.error = RuntimeError("no thread can be started")
    pool = FreshContainerPool(JOB, launcher, slots=1)
    assert pool.evaluate("w").is_scored
    assert pool.evaluate("x").is_scored
    launcher.wait(3)
    pool._starters.submit(lambda: None).result()  # the one started ahead is ready
    launcher.is_broken = True
    assert pool.evaluate("y").is_scored, "started ahead"
    launcher.wait(1)
    pool._starters.submit(lambda: None).result()  # the next one failed
    launcher.is_broken = False
    assert pool.evaluate("z").is_scored
    launcher.wait(2)  # one for this program, and one ahead
    pool.close()
    assert all(runner.closed for runner in launcher.runners)


def test_a_closed_pool_starts_nothing():
    launcher = Launcher()
    pool = FreshContainerPool(JOB, launcher, slots=1)
    pool.close()
    assert pool.evaluate("x").error == "the sandbox was closed"
    assert launcher.runners == []
