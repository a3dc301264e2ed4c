"""A sandbox on several machines, with machines that do as they are told: one verdict per program, whoever fails."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import count
from threading import Barrier
from typing import Any

import pytest

from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate import sandbox
from overnight.tasks.evaluate.cluster import cluster_pool as module
from overnight.tasks.evaluate.cluster import machine as tasks
from overnight.tasks.evaluate.cluster.messages import (
    MAX_ANSWER,
    Answer,
    answer_bytes,
)
from overnight.tasks.evaluate.cluster.slots import ClusterSlots
from overnight.tasks.evaluate.sandbox import MAX_SOURCE
from tests.accidents import wait_until
from tests.evaluate.cluster.fake_cluster import (
    CONFIRMATION,
    HONEST,
    LONG_S,
    REQUEST,
    SCORED,
    FakeCluster,
    FakeMachine,
    Judge,
    Setting,
    leaves,
    loses,
    open_names,
    scored,
    wait_for_jobs,
)
from tests.evaluate.test_confirmation import SPECIFICATION, claim
from tests.evaluate.test_runs_of_a_program import outcome_in_a_generation


def test_a_program_gets_the_verdict_of_the_machine_and_its_name(setting: Setting):
    pool = setting.pool(FakeCluster(FakeMachine("one")))
    assert pool.evaluate("x") == replace(SCORED, output="x", machine="one")
    assert setting.notes == []


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT])
def test_a_program_that_fails_is_not_run_elsewhere(setting: Setting, outcome: Outcome):
    failed = Verdict(outcome, error="it failed")
    machines = [FakeMachine(name, judge=lambda _: failed) for name in ("one", "two")]
    verdict = setting.pool(FakeCluster(*machines)).evaluate("x")
    assert (verdict.outcome, verdict.error) == (outcome, "it failed")
    assert sum(len(one.programs) for one in machines) == 1
    assert setting.notes == []


def test_a_program_that_alone_cannot_be_run_is_run_again_and_sets_no_machine_aside(setting: Setting):
    lost = [Answer(lost="the container ended", out_of_memory=True)] * 2
    one = FakeMachine("one", judge=lambda _: answer_bytes(lost.pop()))
    verdict = setting.pool(FakeCluster(one)).evaluate("x")
    assert verdict == Verdict(Outcome.OUT_OF_MEMORY, error="used more than 2048 MiB, and its container was ended")
    assert one.programs == ["x", "x"]
    assert setting.notes == []


def test_a_program_that_is_too_long_to_be_run_is_sent_to_no_machine(setting: Setting):
    verdict = setting.pool(FakeCluster()).evaluate("x" * (MAX_SOURCE + 1))
    assert verdict.outcome is Outcome.CRASHED
    assert verdict.machine == ""


LOSSES: dict[str, tuple[Judge, str]] = {
    "leaves in the middle": (leaves, "the machine left the cluster"),
    "hands the program back": (lambda _: answer_bytes(Answer(fault="the engine is gone")), "the engine is gone"),
    "sends nothing": (lambda _: answer_bytes(Answer()), "it sent no verdict"),
    "sends noise": (lambda _: b"\xff\x00", r"expected an answer, got b'\xff\x00'"),
    "sends an object": (lambda _: {"verdict": "scored"}, "expected an answer of at most 16777216 bytes, got dict"),
    "sends too much": (lambda _: bytes(MAX_ANSWER + 1), "expected an answer of at most 16777216 bytes, got 16777217"),
    "invents a verdict": (
        lambda _: Verdict(Outcome.SCORED, (1.0,)),
        "expected 2 scores of a program that is scored, got 1",
    ),
    "says that it is a duplicate": (
        lambda _: Verdict(Outcome.DUPLICATE),
        "expected a verdict, got {'outcome': 'duplicate'",
    ),
}


@pytest.mark.parametrize(("judge", "reason"), LOSSES.values(), ids=LOSSES)
def test_a_program_that_a_machine_loses_runs_elsewhere_and_the_machine_is_set_aside(
    setting: Setting, judge: Judge, reason: str
):
    def lose(program: str) -> Any:
        cluster.join(sound)
        return judge(program)

    broken, sound = FakeMachine("broken", judge=lose), FakeMachine("sound")
    cluster = FakeCluster(broken)
    pool = setting.pool(cluster)
    assert pool.evaluate("x").machine == "sound"
    assert pool.evaluate("y").machine == "sound"
    assert (broken.programs, sound.programs) == (["x"], ["x", "y"])
    assert len(setting.notes) == 1
    assert setting.notes[0].startswith(f"machine broken is set aside: {reason}")


def test_a_program_runs_elsewhere_that_a_machine_never_answers(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    def never(_: str) -> bytes:
        cluster.join(sound)
        raise TimeoutError

    monkeypatch.setattr(module, "_GRACE_S", -5.5)  # of 2 inputs and the honest one, 1 s each, twice: half a second
    hanging, sound = FakeMachine("hanging", judge=never), FakeMachine("sound")
    cluster = FakeCluster(hanging)
    pool = setting.pool(cluster)
    assert pool.evaluate("x").machine == "sound"
    assert setting.notes == ["machine hanging is set aside: no answer within 0 s"]


def test_a_machine_opens_the_job_again_once_its_time_is_over(setting: Setting):
    def lose_once(program: str) -> Verdict:
        return leaves(program) if len(one.programs) == 1 else scored(program)

    one = FakeMachine("one", judge=lose_once)
    assert setting.pool(FakeCluster(one), aside_s=0.01).evaluate("x").machine == "one"
    assert one.programs == ["x", "x"]
    assert one.asked == ["examine", "open_job", "run", "examine", "open_job", "run"]


def test_a_program_that_three_machines_lose_is_a_sandbox_error_that_names_them(setting: Setting):
    machines = [FakeMachine(name, judge=loses("x")) for name in ("one", "two", "three", "four")]
    cluster = FakeCluster(*machines)
    pool = setting.pool(cluster)
    wait_for_jobs(*machines)
    verdict = pool.evaluate("x")
    assert verdict.outcome is Outcome.SANDBOX_ERROR
    asked = {one.machine.name for one in machines if "x" in one.programs}
    assert len(asked) == 3
    assert all(f"{name}: the machine left the cluster" in verdict.error for name in asked)
    notes = {f"machine {name} is set aside: the machine left the cluster" for name in asked}
    assert (set(setting.notes), len(setting.notes)) == (notes, 3)


def test_a_program_that_every_machine_loses_runs_three_times_in_a_generation(setting: Setting):
    program = SPECIFICATION.program(claim(0, "5", 5.0).candidate.body).main
    machines = [FakeMachine(str(number), judge=loses(program)) for number in range(6)]
    assert outcome_in_a_generation(setting.pool(FakeCluster(*machines))) is Outcome.SANDBOX_ERROR
    assert sum(one.programs.count(program) for one in machines) == sandbox.MAX_RUNS


def test_a_machine_that_loses_a_program_three_times_is_named(setting: Setting):
    one = FakeMachine("one", judge=loses("x"))
    verdict = setting.pool(FakeCluster(one), aside_s=0.01).evaluate("x")
    assert verdict == Verdict(Outcome.SANDBOX_ERROR, error="one: the machine left the cluster")
    assert one.programs == ["x", "x", HONEST, "x"]


def test_where_a_program_was_lost_and_no_machine_is_left_the_sandbox_is_unavailable(setting: Setting):
    pool = setting.pool(FakeCluster(FakeMachine("one", judge=leaves)), no_machine_s=0.05)
    wait_until(lambda: "one" in open_names(pool))
    with pytest.raises(SandboxUnavailable, match="can evaluate: one: the machine left the cluster"):
        pool.evaluate("x")


def test_without_any_machine_the_sandbox_is_unavailable(setting: Setting):
    pool = setting.pool(FakeCluster(), no_machine_s=0.05)
    with pytest.raises(SandboxUnavailable, match="no machine of the cluster can evaluate: it has no machine") as raised:
        pool.evaluate("x")
    assert "overnight cluster worker ADDRESS" in raised.value.remedy


def test_the_reason_why_machines_cannot_be_used_is_told(setting: Setting):
    one = FakeMachine("one")
    one.opening = lambda: "Docker does not answer"
    pool = setting.pool(FakeCluster(one), no_machine_s=0.05)
    wait_until(lambda: bool(setting.notes))
    with pytest.raises(SandboxUnavailable, match="can evaluate: one: Docker does not answer"):
        pool.evaluate("x")
    assert setting.notes == ["machine one is set aside: Docker does not answer"]
    assert one.programs == []


def test_a_machine_of_another_version_gets_no_program_and_the_note_names_both_versions(setting: Setting):
    ours = tasks.facts()
    older, sound = FakeMachine("older"), FakeMachine("sound")
    older.facts = {"Overnight": "0.0.1", "Python": ours["Python"]}
    pool = setting.pool(FakeCluster(older, sound))
    wait_until(lambda: bool(setting.notes))
    assert {pool.evaluate(str(number)).machine for number in range(10)} == {"sound"}
    assert setting.notes == [
        f"machine older is set aside: it has Overnight 0.0.1, the head {ours['Overnight']}; "
        f"it has build unknown, the head {ours['build']}"
    ]
    assert older.asked == ["examine"]


def test_each_program_has_one_verdict_though_machines_lose_many(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    """Every tenth program is lost at its first attempt, each time in another way, and others of its machine with it."""
    monkeypatch.setattr(sandbox, "MAX_RUNS", 100)
    ways = [leaves, lambda _: b"", lambda _: b"noise", lambda _: answer_bytes(Answer(fault="no engine"))]
    attempts = Counter[str]()

    def lose_some(program: str) -> Any:
        time.sleep(0.001)
        attempts[program] += 1
        number = int(program)
        if number % 10 == 0 and attempts[program] == 1:
            return ways[number // 10 % len(ways)](program)
        return scored(program)

    machines = [FakeMachine(name, 4, lose_some) for name in ("one", "two", "three")]
    pool = setting.pool(FakeCluster(*machines), aside_s=0.005)
    programs = [str(number) for number in range(200)]
    verdicts = [begun.result(LONG_S) for begun in [setting.begin(pool, program) for program in programs]]
    assert [verdict.output for verdict in verdicts] == programs
    assert all(verdict.is_scored for verdict in verdicts)
    assert all(attempts[program] > 1 for program in programs[::10])
    assert all(one.most <= 4 for one in machines)


def test_all_pools_of_a_run_together_have_no_more_programs_on_a_machine_than_it_has_slots(setting: Setting):
    number, both = count(), Barrier(2)

    def work(program: str) -> Verdict:
        if next(number) < 2:
            both.wait(LONG_S)  # the first two are at work at the same time
        return scored(program)

    one, slots = FakeMachine("one", 2, work), ClusterSlots(LONG_S)
    cluster = FakeCluster(one)
    pools = [setting.pool(cluster, slots, request=request) for request in (REQUEST, CONFIRMATION)]
    begun = [setting.begin(pool, f"program {number}") for number in range(30) for pool in pools]
    assert all(verdict.result(LONG_S).is_scored for verdict in begun)
    assert one.most == 2
    assert len(one.programs) == 60


def test_a_program_is_confirmed_by_another_machine_than_the_one_that_evaluated_it(setting: Setting):
    machines = [FakeMachine("one"), FakeMachine("two")]
    cluster, slots = FakeCluster(*machines), ClusterSlots(LONG_S)
    evaluations, confirmations = (setting.pool(cluster, slots, request=request) for request in (REQUEST, CONFIRMATION))
    wait_for_jobs(*machines, jobs=2)
    wait_until(lambda: len(open_names(evaluations)) == len(open_names(confirmations)) == 2)
    for number in range(6):
        evaluated = setting.begin(evaluations, f"program {number}").result(LONG_S)
        assert {evaluated.machine, confirmations.evaluate(f"program {number}").machine} == {"one", "two"}


def test_a_second_confirmation_does_not_go_to_the_machine_that_evaluated_the_program(setting: Setting):
    cluster, slots = FakeCluster(FakeMachine("one"), FakeMachine("two")), ClusterSlots(LONG_S)
    evaluations, confirmations = (setting.pool(cluster, slots, request=request) for request in (REQUEST, CONFIRMATION))
    wait_until(lambda: len(open_names(evaluations)) == len(open_names(confirmations)) == 2)
    evaluated = evaluations.evaluate("x")
    confirmed = [confirmations.evaluate("x").machine for _ in range(2)]
    assert evaluated.machine not in confirmed
