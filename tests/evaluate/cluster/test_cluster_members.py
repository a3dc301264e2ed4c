"""Machines join and leave a pool, and a pool closes."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import pytest

from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.cluster.messages import (
    Answer,
    answer_bytes,
)
from overnight.tasks.evaluate.cluster.slots import ClusterSlots
from tests.accidents import wait_until
from tests.evaluate.cluster.fake_cluster import (
    LONG_S,
    FakeCluster,
    FakeMachine,
    Setting,
    leaves,
    open_names,
    scored,
)


def test_a_machine_that_joins_later_relieves_one_that_is_busy(setting: Setting):
    proceed = setting.switch()
    one = FakeMachine("one", judge=lambda program: scored(program) if proceed.wait(LONG_S) else b"")
    cluster = FakeCluster(one)
    pool = setting.pool(cluster)
    first = setting.begin(pool, "x")
    wait_until(lambda: one.programs == ["x"])
    second = setting.begin(pool, "y")
    cluster.join(FakeMachine("two"))
    assert second.result(LONG_S).machine == "two"
    assert not first.done()
    proceed.set()
    assert first.result(LONG_S).machine == "one"


def test_a_machine_that_left_and_joined_again_is_asked_to_open_the_job_again(setting: Setting):
    one = FakeMachine("one")
    cluster = FakeCluster(one)
    pool = setting.pool(cluster)
    assert pool.evaluate("x").is_scored
    cluster.leave(one)
    wait_until(lambda: not open_names(pool))
    one.open.clear()
    cluster.join(one)
    assert pool.evaluate("y").is_scored
    assert setting.notes == []


def test_a_machine_that_never_opens_the_job_keeps_nobody_waiting_and_is_set_aside(setting: Setting):
    proceed = setting.switch()

    def hang() -> str:
        proceed.wait(LONG_S)
        raise TimeoutError

    hanging, sound = FakeMachine("hanging"), FakeMachine("sound")
    hanging.opening = hang
    pool = setting.pool(FakeCluster(hanging, sound))
    assert [pool.evaluate(program).machine for program in "abc"] == ["sound"] * 3
    assert setting.notes == []
    proceed.set()
    wait_until(lambda: bool(setting.notes))
    assert setting.notes == ["machine hanging is set aside: no answer within 0 s"]
    assert hanging.programs == []


def test_closing_ends_the_job_on_every_machine_once(setting: Setting):
    machines = [FakeMachine(name, number) for number, name in enumerate(("one", "two", "three"), start=1)]
    pool = setting.pool(FakeCluster(*machines))
    wait_until(lambda: len(open_names(pool)) == 3)
    keys = [set(one.open) for one in machines]
    pool.close()
    pool.close()
    assert [set(one.ended) for one in machines] == keys
    assert [len(one.ended) for one in machines] == [1, 1, 1]
    assert not any(one.open for one in machines)


def test_a_machine_that_left_does_not_keep_a_pool_from_closing(setting: Setting):
    left, sound = FakeMachine("left"), FakeMachine("sound")
    cluster = FakeCluster(left, sound)
    pool = setting.pool(cluster)
    wait_until(lambda: len(open_names(pool)) == 2)
    cluster.leave(left)
    pool.close()
    assert not sound.open


def test_closing_ends_programs_that_run_and_wakes_those_that_wait_for_a_slot(setting: Setting):
    class Interruptible(FakeMachine):
        """Hands its programs back once its job ends, as a real one does."""

        def end(self, key: str) -> None:
            interrupted.set()
            super().end(key)

    def wait(_: str) -> bytes:
        interrupted.wait(LONG_S)
        return answer_bytes(Answer(fault="the sandbox was closed"))

    interrupted = setting.switch()
    one = Interruptible("one", 2, wait)
    pool = setting.pool(FakeCluster(one))
    begun = [setting.begin(pool, str(number)) for number in range(6)]
    wait_until(lambda: len(one.programs) == 2)
    pool.close()
    for verdict in begun:
        assert verdict.result(LONG_S) == Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")
    assert len(one.programs) == 2
    assert setting.notes == [], "no machine is at fault"


def test_a_closed_pool_asks_no_machine(setting: Setting):
    one = FakeMachine("one")
    pool = setting.pool(FakeCluster(one))
    wait_until(lambda: bool(open_names(pool)))
    pool.close()
    assert pool.evaluate("x").error == "the sandbox was closed"
    assert one.programs == []


def test_a_pool_uses_a_machine_again_though_another_pool_saw_first_that_its_time_is_over(setting: Setting):
    one, slots = FakeMachine("one", judge=leaves), ClusterSlots(0.05, LONG_S)
    cluster = FakeCluster(one)
    pool = setting.pool(cluster, slots)
    wait_until(lambda: "one" in open_names(pool))
    with pytest.raises(SandboxUnavailable):
        pool.evaluate("x")
    with slots._lock:  # as the other pool's next look, before that of this one
        slots._aside[one.machine.address] = time.monotonic(), "its time is over"
    slots.update(cluster.machines)
    wait_until(lambda: one.asked.count("open_job") == 2)


def test_closing_ends_the_job_on_a_machine_that_is_set_aside(setting: Setting):
    one, sound = FakeMachine("one", judge=leaves), FakeMachine("sound")
    pool = setting.pool(FakeCluster(one, sound))
    wait_until(lambda: len(open_names(pool)) == 2)
    for program in "xy":
        assert pool.evaluate(program).machine == "sound"
    assert one.programs
    pool.close()
    wait_until(lambda: not one.open)


def test_closing_ends_the_job_on_a_machine_that_is_opening_it(setting: Setting):
    one, proceed = FakeMachine("one"), setting.switch()
    one.opening = lambda: "" if proceed.wait(LONG_S) else "it hangs"
    pool = setting.pool(FakeCluster(one))
    wait_until(lambda: "open_job" in one.asked)
    closing = threading.Thread(target=pool.close)
    closing.start()
    wait_until(pool._closing.is_set)
    proceed.set()
    closing.join()
    wait_until(lambda: not one.open)


def test_closing_does_not_wait_for_a_machine_that_is_opening_the_job(setting: Setting):
    one, proceed = FakeMachine("one"), setting.switch()
    one.opening = lambda: "" if proceed.wait(LONG_S) else "it hangs"
    pool = setting.pool(FakeCluster(one))
    wait_until(lambda: "open_job" in one.asked)
    pool.close()
    assert not proceed.is_set()


def test_a_job_that_ended_since_the_connection_broke_is_opened_again(setting: Setting):
    one = FakeMachine("one")
    pool = setting.pool(FakeCluster(one))
    wait_until(lambda: bool(open_names(pool)))
    (lease,) = pool._leases.values()
    assert lease is not None
    cast(Any, lease._future).status = "cancelled"
    wait_until(lambda: one.asked.count("open_job") == 2)
    assert pool.evaluate("x").is_scored
    assert setting.notes == []
