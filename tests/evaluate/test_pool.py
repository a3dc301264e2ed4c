"""Fresh containers: each runs one program."""

from __future__ import annotations

from typing import cast

from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.outcome import Outcome
from overnight.tasks.evaluate.pool import FreshContainerPool
from overnight.tasks.evaluate.sandbox import RunnerConfig, SandboxBackend
from tests.evaluate.test_container_worker import JOB, FakeRunner, good


class FakeBackend:
    """Starts fake runners, and counts them."""

    own_users = True

    def __init__(self) -> None:
        self.runners: list[FakeRunner] = []
        self.is_broken = self.is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def start(self, config: RunnerConfig) -> FakeRunner:
        if self.is_broken:
            raise SandboxUnavailable("the engine is gone")
        self.runners.append(FakeRunner(good))
        return self.runners[-1]


def fresh_pool() -> tuple[FakeBackend, FreshContainerPool]:
    backend = FakeBackend()
    return backend, FreshContainerPool(JOB, cast("SandboxBackend", backend), RunnerConfig("", 96), slots=2)


def test_each_program_gets_a_container_that_has_run_nothing_and_none_is_started_before():
    backend, pool = fresh_pool()
    assert backend.runners == []
    assert pool.evaluate("x").is_scored
    assert pool.evaluate("y").is_scored
    assert [runner.closed for runner in backend.runners[:2]] == [True, True]
    pool.close()


def test_where_programs_are_frequent_the_next_one_s_container_starts_ahead_and_is_used_once():
    backend, pool = fresh_pool()
    for number, started in ((1, 1), (2, 3), (3, 4)):
        assert pool.evaluate("x").is_scored
        pool._starter.submit(int).result(60)
        assert len(backend.runners) == started
        assert [runner.closed for runner in backend.runners] == [True] * number + [False] * (started - number)
    pool.close()
    assert all(runner.closed for runner in backend.runners)


def test_a_container_that_did_not_start_ahead_is_tried_again():
    backend, pool = fresh_pool()
    assert pool.evaluate("x").is_scored
    backend.is_broken = True
    assert not pool.evaluate("x").is_scored
    pool._starter.submit(int).result(60)
    backend.is_broken = False
    assert pool.evaluate("x").is_scored
    pool.close()


def test_one_that_cannot_be_started_is_a_sandbox_error_and_the_next_one_is_tried():
    backend, pool = fresh_pool()
    backend.is_broken = True
    verdict = pool.evaluate("x")
    assert (verdict.outcome, verdict.error) == (Outcome.SANDBOX_ERROR, "the engine is gone")
    backend.is_broken = False
    assert pool.evaluate("x").is_scored
    pool.close()


def test_a_closed_pool_starts_nothing():
    backend, pool = fresh_pool()
    pool.close()
    assert pool.evaluate("x").error == "the sandbox was closed"
    assert backend.runners == []
    assert backend.is_closed
