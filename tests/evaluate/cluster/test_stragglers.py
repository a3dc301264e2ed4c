"""A program that takes long is started on a second machine, where a slot is idle."""

from __future__ import annotations

import time

import pytest

from schemas.outcome import Verdict
from tasks.evaluate.cluster import stragglers
from tests.accidents import wait_until
from tests.evaluate.cluster.fake_cluster import (
    LONG_S,
    FakeCluster,
    FakeMachine,
    Setting,
    scored,
)


def test_a_straggler_runs_on_a_second_machine_and_the_first_verdict_counts(setting: Setting, soon: None):
    slow, fast = FakeMachine("slow"), FakeMachine("fast")
    pool = setting.pool(FakeCluster(slow, fast), straggler_factor=2)
    for number in range(20):
        pool.evaluate(str(number))
    proceed = setting.switch()

    def wait(program: str) -> Verdict:
        proceed.wait(LONG_S)
        return scored(program)

    slow.judge = wait
    begun = [setting.begin(pool, name) for name in ("x", "y")]
    verdicts = [one.result(LONG_S) for one in begun]
    assert [verdict.machine for verdict in verdicts] == ["fast", "fast"]
    assert setting.notes == [], "a machine that is slow is not set aside"
    asked = len(slow.programs)
    assert pool.evaluate("z").machine == "fast"
    assert len(slow.programs) == asked, "its slot is taken until the straggler is done there"
    proceed.set()
    slow.judge = scored
    wait_until(lambda: pool.evaluate("again").machine == "slow")


def test_no_straggler_runs_twice_while_programs_wait_for_slots(
    setting: Setting, soon: None, monkeypatch: pytest.MonkeyPatch
):
    one, other = FakeMachine("one"), FakeMachine("other")
    pool = setting.pool(FakeCluster(one, other), straggler_factor=2)
    for number in range(20):
        pool.evaluate(str(number))
    monkeypatch.setattr(stragglers, "_MIN_S", 1.0)  # by then, others wait
    proceed = setting.switch()

    def wait(program: str) -> Verdict:
        proceed.wait(LONG_S) if program == "long" else time.sleep(0.05)
        return scored(program)

    one.judge = other.judge = wait
    long = setting.begin(pool, "long")
    wait_until(lambda: "long" in one.programs + other.programs)
    others = [setting.begin(pool, f"short {number}") for number in range(40)]
    wait_until(lambda: sum(each.done() for each in others) > 30)
    assert (one.programs + other.programs).count("long") == 1
    proceed.set()
    long.result(LONG_S)
