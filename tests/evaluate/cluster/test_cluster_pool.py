"""A sandbox on several machines, with machines that do as they are told: one verdict per program, whoever fails."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import IO, Any, cast

import pytest

from schemas.errors import SandboxUnavailable, UsageError
from schemas.job import Call, Job, Limits
from schemas.outcome import Outcome, Verdict
from tasks.evaluate.cluster import machine as tasks
from tasks.evaluate.cluster import pool as module
from tasks.evaluate.cluster import slots as slots_module
from tasks.evaluate.cluster.dask_engine import Connection, Machine, MachineLost
from tasks.evaluate.cluster.messages import (
    MAX_ANSWER,
    Answer,
    Request,
    answer_bytes,
    job_text,
    read_source,
    source_text,
    verdict_fields,
)
from tasks.evaluate.cluster.pool import ClusterPool
from tasks.evaluate.cluster.slots import ClusterSlots
from tasks.evaluate.container_worker import MAX_SOURCE
from tests.accidents import wait_until

LONG_S = 60.0
"""Seconds that no test waits for, however busy the machine is."""

JOB = Job("evaluate", (Call((3,)), Call((4,))), Limits(wall_s=1))

REQUEST = Request(
    job=job_text(JOB),
    image="sha256:1",
    backend="made",
    runtime=None,
    labels={},
    honest=source_text("honest"),
    slots=1,
    is_fresh=False,
)
CONFIRMATION = REQUEST.model_copy(update={"is_fresh": True})

SCORED = Verdict(Outcome.SCORED, (1.0, 2.0), wall_s=10.0)
"""Of a program that takes long, so that none waits on a machine."""

Judge = Callable[[str], Any]


def scored(program: str) -> bytes:
    """Answer with a verdict, as from a machine that says that it is another one."""
    return answer_bytes(Answer(verdict=verdict_fields(SCORED) | {"output": program, "machine": "another"}))


def leaves(program: str) -> bytes:
    raise MachineLost("the machine left the cluster")


class FakeMachine:
    """A machine that judges as it is told; it keeps the books on what it was asked.

    Args:
        name: Its name, of which its address is made.
        slots: Its slots.
        judge: Answers a program.

    Attributes:
        facts: What it tells of itself.
        opening: Called before it opens a job; returns a fault.
        lacks_image: Whether it has no image until it is sent one.
        asked: Names of the tasks that it was given, in order.
        programs: Programs that it was given, in order.
        open: Keys of the jobs that are open.
        ended: Keys of the jobs that it was told to end.
        most: Largest number of programs at a time.
    """

    def __init__(self, name: str, slots: int = 1, judge: Judge = scored) -> None:
        self.machine = Machine(f"tcp://{name}", name, slots)
        self.judge = judge
        self.facts: Mapping[str, str] = tasks.facts()
        self.opening: Callable[[], str] = str
        self.lacks_image = False
        self.asked: list[str] = []
        self.programs: list[str] = []
        self.open: set[str] = set()
        self.ended: list[str] = []
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def run(self, task: str, args: tuple[Any, ...]) -> Any:
        """Return what the machine sends back."""
        self.asked.append(task)
        if task == "judge":
            return self._judge(*args)
        return answer_bytes({"examine": self._examine, "open_job": self._open, "close_job": self._close}[task](*args))

    def _examine(self) -> Answer:
        return Answer(facts=dict(self.facts))

    def _open(self, text: str) -> Answer:
        with self._opening:
            return self._opened(text)

    def _opened(self, text: str) -> Answer:
        if fault := self.opening():
            return Answer(fault=fault)
        request = Request.model_validate_json(text)
        assert request.slots == self.machine.slots
        if self.lacks_image:
            return Answer(fault="no image", lacks_image=True)
        self.open.add(request.key)
        return Answer()

    def _judge(self, key: str, text: str) -> Any:
        if key not in self.open:
            return answer_bytes(Answer(fault="the job is not open here"))
        program = read_source(text)
        assert isinstance(program, str)
        with self._lock:
            self.programs.append(program)
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            return self.judge(program)
        finally:
            with self._lock:
                self._running -= 1

    def _close(self, key: str) -> Answer:
        self.ended.append(key)
        with self._opening:  # a job that is being opened is ended once it is
            self.open.discard(key)
        return Answer()


class FakePending:
    """A task that a fake machine does at once; `TimeoutError` means that it never answers."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._answer: Future[Any] = Future()
        threading.Thread(target=self._do, args=(work,), daemon=True).start()

    def _do(self, work: Callable[[], Any]) -> None:
        with suppress(InvalidStateError):  # it was lost before
            try:
                self._answer.set_result(work())
            except (MachineLost, TimeoutError) as error:
                self._answer.set_exception(error)

    def lose(self, reason: str) -> None:
        with suppress(InvalidStateError):
            self._answer.set_exception(MachineLost(reason))

    def answer(self, timeout_s: float) -> Any:
        try:
            return self._answer.result(timeout_s)
        except TimeoutError:
            raise MachineLost(f"no answer within {timeout_s:.0f} s") from None


class FakeCluster:
    """`Connection` to fake machines, which join and leave."""

    def __init__(self, *machines: FakeMachine) -> None:
        self._there = {one.machine.address: one for one in machines}

    @property
    def machines(self) -> dict[str, Machine]:
        return {address: one.machine for address, one in list(self._there.items())}

    def join(self, one: FakeMachine) -> None:
        self._there[one.machine.address] = one

    def leave(self, one: FakeMachine) -> None:
        del self._there[one.machine.address]

    def submit(self, address: str, task: Callable[..., bytes], *args: object) -> FakePending:
        if address not in self._there:
            raise MachineLost(f"{address} is not there")
        return FakePending(lambda: self._there[address].run(task.__name__, args))


class Setting:
    """Pools and threads that end with a test.

    Attributes:
        notes: What the pools told the user.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._threads = stack.enter_context(ThreadPoolExecutor(64))
        self.notes: list[str] = []

    def pool(
        self,
        cluster: FakeCluster,
        slots: ClusterSlots | None = None,
        *,
        no_machine_s: float = LONG_S,
        aside_s: tuple[float, ...] = (LONG_S,),
        request: Request = REQUEST,
    ) -> ClusterPool:
        slots = slots or ClusterSlots(no_machine_s, aside_s)
        pool = ClusterPool(JOB, request, cast(Connection, cluster), slots, self.notes.append)
        self._stack.callback(pool.close)
        return pool

    def begin(self, pool: ClusterPool, program: str) -> Future[Verdict]:
        return self._threads.submit(pool.evaluate, program)

    def switch(self) -> threading.Event:
        """Return an event that is set at the end at the latest, so that nothing hangs if a test fails."""
        event = threading.Event()
        self._stack.callback(event.set)
        return event


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    monkeypatch.setattr(module, "_LOOK_S", 0.005)
    monkeypatch.setattr(slots_module, "_WAIT_S", 0.01)
    with ExitStack() as stack:
        yield Setting(stack)


def wait_for_jobs(*machines: FakeMachine, jobs: int = 1) -> None:
    wait_until(lambda: all(len(one.open) == jobs for one in machines))


def test_a_program_gets_the_verdict_of_the_machine_and_its_name(setting: Setting):
    pool = setting.pool(FakeCluster(FakeMachine("one")))
    assert pool.evaluate("x") == replace(SCORED, output="x", machine="one")
    assert setting.notes == []


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.SANDBOX_ERROR])
def test_a_program_that_fails_is_not_run_elsewhere(setting: Setting, outcome: Outcome):
    failed = answer_bytes(Answer(verdict=verdict_fields(Verdict(outcome, error="it failed"))))
    machines = [FakeMachine(name, judge=lambda _: failed) for name in ("one", "two")]
    verdict = setting.pool(FakeCluster(*machines)).evaluate("x")
    assert (verdict.outcome, verdict.error) == (outcome, "it failed")
    assert sum(len(one.programs) for one in machines) == 1
    assert setting.notes == []


def test_a_program_that_is_too_long_to_be_run_is_sent_to_no_machine(setting: Setting):
    verdict = setting.pool(FakeCluster()).evaluate("x" * (MAX_SOURCE + 1))
    assert verdict.outcome is Outcome.CRASHED
    assert verdict.machine == ""


def never(_: str) -> bytes:
    raise TimeoutError


LOSSES: dict[str, tuple[Judge, str]] = {
    "leaves in the middle": (leaves, "the machine left the cluster"),
    "never answers": (never, "no answer within 126 s"),
    "hands the program back": (lambda _: answer_bytes(Answer(fault="the engine is gone")), "the engine is gone"),
    "sends nothing": (lambda _: answer_bytes(Answer()), "it sent no verdict"),
    "sends noise": (lambda _: b"\xff\x00", r"expected an answer, got b'\xff\x00'"),
    "sends an object": (lambda _: {"verdict": "scored"}, "expected an answer of at most 16777216 bytes, got dict"),
    "sends too much": (lambda _: bytes(MAX_ANSWER + 1), "expected an answer of at most 16777216 bytes, got 16777217"),
    "invents a verdict": (
        lambda _: answer_bytes(Answer(verdict=verdict_fields(Verdict(Outcome.SCORED, (1.0,))))),
        "expected 2 scores of a program that is scored, got 1",
    ),
    "says that it is a duplicate": (
        lambda _: answer_bytes(Answer(verdict=verdict_fields(Verdict(Outcome.DUPLICATE)))),
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


def test_a_machine_that_loses_several_programs_at_a_time_is_noted_once(setting: Setting):
    together = threading.Barrier(4)

    def lose(_: str) -> bytes:
        together.wait(LONG_S)
        raise MachineLost("it broke")

    broken, sound = FakeMachine("broken", 4, lose), FakeMachine("sound", 4)
    cluster = FakeCluster(broken)
    pool = setting.pool(cluster)
    begun = [setting.begin(pool, str(number)) for number in range(4)]
    wait_until(lambda: len(broken.programs) == 4)
    cluster.join(sound)
    assert [one.result(LONG_S).machine for one in begun] == ["sound"] * 4
    assert setting.notes == ["machine broken is set aside: it broke"]


def test_a_machine_opens_the_job_again_once_its_time_is_over(setting: Setting):
    def lose_once(program: str) -> bytes:
        return leaves(program) if len(one.programs) == 1 else scored(program)

    one = FakeMachine("one", judge=lose_once)
    assert setting.pool(FakeCluster(one), aside_s=(0.01,)).evaluate("x").machine == "one"
    assert one.programs == ["x", "x"]
    assert one.asked == ["examine", "open_job", "judge", "examine", "open_job", "judge"]


def test_a_program_that_three_machines_lose_is_a_sandbox_error_that_names_them(setting: Setting):
    machines = [FakeMachine(name, judge=leaves) for name in ("one", "two", "three", "four")]
    cluster = FakeCluster(*machines)
    pool = setting.pool(cluster)
    wait_for_jobs(*machines)
    verdict = pool.evaluate("x")
    assert verdict.outcome is Outcome.SANDBOX_ERROR
    assert verdict.error.startswith("no machine could run it: ")
    asked = {one.machine.name for one in machines if one.programs}
    assert len(asked) == 3
    assert all(f"{name}: the machine left the cluster" in verdict.error for name in asked)
    notes = {f"machine {name} is set aside: the machine left the cluster" for name in asked}
    assert (set(setting.notes), len(setting.notes)) == (notes, 3)


def test_a_machine_that_loses_a_program_three_times_is_named_each_time(setting: Setting):
    one = FakeMachine("one", judge=leaves)
    verdict = setting.pool(FakeCluster(one), aside_s=(0.01,)).evaluate("x")
    assert verdict.error == "no machine could run it: " + "; ".join(["one: the machine left the cluster"] * 3)
    assert verdict.machine == ""
    assert len(one.programs) == 3


def test_a_program_that_was_lost_and_for_which_there_is_no_machine_left_is_a_sandbox_error(setting: Setting):
    pool = setting.pool(FakeCluster(FakeMachine("one", judge=leaves)), no_machine_s=0.05)
    wait_until(lambda: "one" in _open_names(pool))
    verdict = pool.evaluate("x")
    assert verdict.outcome is Outcome.SANDBOX_ERROR
    assert verdict.error == "no machine could run it: one: the machine left the cluster"


def _open_names(pool: ClusterPool) -> set[str]:
    return {address.removeprefix("tcp://") for address in list(pool._books.open)}


def test_without_any_machine_the_sandbox_is_unavailable(setting: Setting):
    pool = setting.pool(FakeCluster(), no_machine_s=0.05)
    with pytest.raises(SandboxUnavailable, match="no machine of the cluster can evaluate: it has no machine") as raised:
        pool.evaluate("x")
    assert "overnight worker ADDRESS" in raised.value.remedy


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


class FakeStore:
    """Backend of the head that has an image, in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.saved: list[str] = []
        self.is_closed = False

    def save_image(self, image: str) -> Iterator[bytes]:
        self.saved.append(image)
        yield from self.pieces

    def load_image(self, archive: IO[bytes]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.is_closed = True


class Importer(FakeMachine):
    """A machine that lacks the image until it has got the last part of it.

    Args:
        name: Its name.
        fault: Reason why it takes no part.

    Attributes:
        parts: Image, number and content of each part, and whether it is the last.
        loaded: How often it has loaded the image.
    """

    def __init__(self, name: str, fault: str = "") -> None:
        super().__init__(name, 4)
        self.lacks_image = True
        self.fault = fault
        self.parts: list[tuple[str, int, bytes, bool]] = []
        self.loaded = 0

    def run(self, task: str, args: tuple[Any, ...]) -> Any:
        if task != "take_image_part":
            return super().run(task, args)
        self.asked.append(task)
        backend, image, number, content, is_last = args
        assert backend == "made"
        self.parts.append((image, number, content, is_last))
        if self.fault:
            return answer_bytes(Answer(fault=self.fault))
        self.loaded += is_last
        self.lacks_image = not is_last
        return answer_bytes(Answer())


def use(store: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART", 10)
    monkeypatch.setattr(module, "create_backend", lambda name: store)


PIECES = {
    "many short ones": [bytes([number]) for number in range(95)],
    "one long one": [b"x" * 100],
    "as long as a part": [b"x" * 10, b"y" * 10, b"z" * 10],
    "one of no length": [b""],
    "none": [],
}


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_a_machine_that_lacks_the_image_is_sent_it_in_parts_once(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]
):
    store, one = FakeStore(*pieces), Importer("one")
    use(store, monkeypatch)
    pool = setting.pool(FakeCluster(one))
    begun = [setting.begin(pool, str(number)) for number in range(20)]
    assert {verdict.result(LONG_S).machine for verdict in begun} == {"one"}
    images, numbers, contents, lasts = zip(*one.parts, strict=True)
    assert b"".join(contents) == b"".join(pieces)
    assert numbers == tuple(range(len(one.parts)))
    assert lasts == (False,) * (len(one.parts) - 1) + (True,)
    assert set(images) == {"sha256:1"}
    assert (one.loaded, store.saved, store.is_closed) == (1, ["sha256:1"], True)
    assert one.asked[:2] == ["examine", "open_job"]
    assert one.asked.count("open_job") == 2
    assert setting.notes == ["sending the image to one, once"]


def test_parts_of_an_image_are_no_longer_than_needed(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    one = Importer("one")
    use(FakeStore(*[b"abc"] * 20), monkeypatch)
    setting.pool(FakeCluster(one)).evaluate("x")
    assert [len(content) for _, _, content, _ in one.parts] == [12] * 5


def test_a_machine_that_cannot_take_the_image_is_set_aside_and_sent_nothing_more(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
):
    full, sound = Importer("full", "no space left on device"), FakeMachine("sound")
    store = FakeStore(*[b"x" * 10] * 5)
    use(store, monkeypatch)
    pool = setting.pool(FakeCluster(full, sound))
    assert pool.evaluate("x").machine == "sound"
    wait_until(lambda: len(setting.notes) == 2)
    assert setting.notes[1] == "machine full is set aside: no space left on device"
    assert len(full.parts) == 1
    assert store.is_closed


def test_a_backend_without_images_to_send_leaves_the_machine_aside(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    class Bare:
        def close(self) -> None:
            pass

    use(Bare(), monkeypatch)
    setting.pool(FakeCluster(Importer("one")))
    wait_until(lambda: len(setting.notes) == 2)
    assert setting.notes[1] == "machine one is set aside: it has no image sha256:1"


def test_a_head_that_cannot_read_the_image_sets_the_machine_aside(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    class Gone(FakeStore):
        def save_image(self, image: str) -> Iterator[bytes]:
            raise SandboxUnavailable("the head's engine is gone")

    store = Gone()
    use(store, monkeypatch)
    setting.pool(FakeCluster(Importer("one")))
    wait_until(lambda: len(setting.notes) == 2)
    assert setting.notes[1] == "machine one is set aside: the head's engine is gone"
    assert store.is_closed


def test_a_machine_that_joins_later_gets_the_programs_that_wait(setting: Setting):
    cluster, one = FakeCluster(), FakeMachine("one", 2)
    pool = setting.pool(cluster)
    begun = [setting.begin(pool, str(number)) for number in range(6)]
    assert not any(verdict.done() for verdict in begun)
    cluster.join(one)
    assert [verdict.result(LONG_S).machine for verdict in begun] == ["one"] * 6


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
    wait_until(lambda: not _open_names(pool))
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
    assert setting.notes == ["machine hanging is set aside: no answer within 192 s"]
    assert hanging.programs == []


def test_closing_ends_the_job_on_every_machine_once(setting: Setting):
    machines = [FakeMachine(name, number) for number, name in enumerate(("one", "two", "three"), start=1)]
    pool = setting.pool(FakeCluster(*machines))
    wait_until(lambda: len(_open_names(pool)) == 3)
    keys = [set(one.open) for one in machines]
    pool.close()
    pool.close()
    assert [set(one.ended) for one in machines] == keys
    assert [len(one.ended) for one in machines] == [1, 1, 1]
    assert not any(one.open for one in machines)


def test_a_machine_that_left_or_does_not_answer_does_not_keep_a_pool_from_closing(setting: Setting):
    class Hanging(FakeMachine):
        def _close(self, key: str) -> Answer:
            raise TimeoutError

    left, hanging, sound = FakeMachine("left"), Hanging("hanging"), FakeMachine("sound")
    cluster = FakeCluster(left, hanging, sound)
    pool = setting.pool(cluster)
    wait_until(lambda: len(_open_names(pool)) == 3)
    cluster.leave(left)
    pool.close()
    assert not sound.open


def test_closing_wakes_whoever_waits_for_a_machine(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_LOOK_S", LONG_S)
    monkeypatch.setattr(slots_module, "_WAIT_S", LONG_S)
    pool = setting.pool(FakeCluster(), no_machine_s=2 * LONG_S)
    begun = [setting.begin(pool, str(number)) for number in range(5)]
    wait_until(lambda: all(verdict.running() for verdict in begun))
    time.sleep(0.05)
    pool.close()
    for verdict in begun:
        assert verdict.result(LONG_S) == Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")


def test_closing_ends_programs_that_run_and_wakes_those_that_wait_for_a_slot(setting: Setting):
    class Interruptible(FakeMachine):
        """Hands its programs back once its job ends, as a real one does."""

        def _close(self, key: str) -> Answer:
            interrupted.set()
            return super()._close(key)

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
    wait_until(lambda: bool(_open_names(pool)))
    pool.close()
    assert pool.evaluate("x").error == "the sandbox was closed"
    assert one.programs == []


def test_200_programs_over_three_machines_of_four_slots_never_have_more_than_four_at_a_time_on_one(setting: Setting):
    def work(program: str) -> bytes:
        time.sleep(0.002)
        return scored(program)

    machines = [FakeMachine(name, 4, work) for name in ("one", "two", "three")]
    pool = setting.pool(FakeCluster(*machines))
    wait_until(lambda: len(_open_names(pool)) == 3)
    programs = [f"program {number}" for number in range(200)]
    verdicts = [begun.result(LONG_S) for begun in [setting.begin(pool, program) for program in programs]]
    assert [verdict.output for verdict in verdicts] == programs, "each has its own verdict"
    assert sorted(program for one in machines for program in one.programs) == sorted(programs), "and ran once"
    assert all(one.most <= 4 for one in machines)
    assert Counter(verdict.machine for verdict in verdicts) == {one.machine.name: len(one.programs) for one in machines}
    assert all(one.programs for one in machines)


def test_each_program_has_one_verdict_though_machines_lose_many(setting: Setting):
    """Every tenth program is lost at its first attempt, each time in another way."""
    ways = [leaves, never, lambda _: b"noise", lambda _: answer_bytes(Answer(fault="no engine"))]
    attempts = Counter[str]()

    def lose_some(program: str) -> Any:
        time.sleep(0.001)
        attempts[program] += 1
        number = int(program)
        if number % 10 == 0 and attempts[program] == 1:
            return ways[number // 10 % len(ways)](program)
        return scored(program)

    machines = [FakeMachine(name, 4, lose_some) for name in ("one", "two", "three")]
    pool = setting.pool(FakeCluster(*machines), aside_s=(0.005,))
    programs = [str(number) for number in range(200)]
    verdicts = [begun.result(LONG_S) for begun in [setting.begin(pool, program) for program in programs]]
    assert [verdict.output for verdict in verdicts] == programs
    assert all(verdict.is_scored for verdict in verdicts)
    assert attempts == {program: 2 if int(program) % 10 == 0 else 1 for program in programs}
    assert all(one.most <= 4 for one in machines)


def test_all_pools_of_a_run_together_have_no_more_programs_on_a_machine_than_it_has_slots(setting: Setting):
    def work(program: str) -> bytes:
        time.sleep(0.002)
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
    wait_until(lambda: len(_open_names(evaluations)) == len(_open_names(confirmations)) == 2)
    for number in range(6):
        evaluated = setting.begin(evaluations, f"program {number}").result(LONG_S)
        assert {evaluated.machine, confirmations.evaluate(f"program {number}").machine} == {"one", "two"}


def test_a_program_is_confirmed_by_the_same_machine_where_there_is_no_other(setting: Setting):
    cluster, slots = FakeCluster(FakeMachine("one")), ClusterSlots(LONG_S)
    assert setting.pool(cluster, slots).evaluate("x").machine == "one"
    assert setting.pool(cluster, slots, request=CONFIRMATION).evaluate("x").machine == "one"


def test_a_pool_uses_a_machine_again_though_another_pool_saw_first_that_its_time_is_over(setting: Setting):
    one, slots = FakeMachine("one", judge=leaves), ClusterSlots(0.05, (LONG_S,))
    cluster = FakeCluster(one)
    pool = setting.pool(cluster, slots)
    wait_until(lambda: "one" in _open_names(pool))
    assert pool.evaluate("x").outcome is Outcome.SANDBOX_ERROR
    with slots._changed:  # as the other pool's next look, before that of this one
        slots._aside[one.machine.address] = time.monotonic(), "its time is over"
        slots.update(cluster.machines)
    wait_until(lambda: one.asked.count("open_job") == 2, timeout_s=0.5)


def test_closing_ends_the_job_on_a_machine_that_is_set_aside(setting: Setting):
    one, sound = FakeMachine("one", judge=leaves), FakeMachine("sound")
    pool = setting.pool(FakeCluster(one, sound))
    wait_until(lambda: len(_open_names(pool)) == 2)
    for program in "xy":
        assert pool.evaluate(program).machine == "sound"
    assert one.programs
    pool.close()
    wait_until(lambda: not one.open, timeout_s=0.5)


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
    wait_until(lambda: not one.open, timeout_s=0.5)


def test_closing_waits_only_a_moment_for_a_machine_that_is_opening_the_job(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_CLOSING_UNOPENED_S", 0.1)
    one, proceed = FakeMachine("one"), setting.switch()
    one.opening = lambda: "" if proceed.wait(LONG_S) else "it hangs"
    pool = setting.pool(FakeCluster(one))
    wait_until(lambda: "open_job" in one.asked)
    closing = threading.Thread(target=pool.close)
    closing.start()
    closing.join(10)
    is_over = not closing.is_alive()
    proceed.set()
    closing.join()
    assert is_over


def test_any_error_while_a_machine_is_given_the_job_is_told(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    def no_backend(name: str) -> None:
        raise UsageError("sandbox.backend: expected docker, got 'made'")

    monkeypatch.setattr(module, "create_backend", no_backend)
    setting.pool(FakeCluster(Importer("one")))
    wait_until(lambda: len(setting.notes) == 2, timeout_s=0.5)
    assert setting.notes[1] == "machine one is set aside: sandbox.backend: expected docker, got 'made'"


def test_a_second_confirmation_does_not_go_to_the_machine_that_evaluated_the_program(setting: Setting):
    cluster, slots = FakeCluster(FakeMachine("one"), FakeMachine("two")), ClusterSlots(LONG_S)
    evaluations, confirmations = (setting.pool(cluster, slots, request=request) for request in (REQUEST, CONFIRMATION))
    wait_until(lambda: len(_open_names(evaluations)) == len(_open_names(confirmations)) == 2)
    evaluated = evaluations.evaluate("x")
    confirmed = [confirmations.evaluate("x").machine for _ in range(2)]
    assert evaluated.machine not in confirmed
