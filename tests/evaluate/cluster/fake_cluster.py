"""Machines that do as they are told, and pools over them that end with a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, cast

from overnight.schemas.job import Call, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.cluster import machine as tasks
from overnight.tasks.evaluate.cluster.cluster_pool import ClusterPool
from overnight.tasks.evaluate.cluster.dask_client import Connection, Machine, MachineLost, Pending
from overnight.tasks.evaluate.cluster.messages import (
    Answer,
    Request,
    answer_bytes,
    job_text,
    read_source,
    verdict_fields,
)
from overnight.tasks.evaluate.cluster.slots import ClusterSlots
from tests.accidents import wait_until

LONG_S = 60.0
"""Seconds that no test waits for, however busy the machine is."""

HONEST = "honest"
JOB = Job("evaluate", (Call((3,)), Call((4,))), Limits(wall_s=1), honest=HONEST)

REQUEST = Request(
    job=job_text(JOB),
    image="sha256:1",
    backend="made",
    runtime=None,
    labels={},
    slots=1,
    is_fresh=False,
)
CONFIRMATION = REQUEST.model_copy(update={"is_fresh": True})

SCORED = Verdict(Outcome.SCORED, (1.0, 2.0), wall_s=10.0)
"""Of a program that takes long, so that none waits on a machine."""

Judge = Callable[[str], Any]
"""Returns the verdict on a program, or something else that the machine answers. `MachineLost` is
raised if it answers nothing, `TimeoutError` if there is never a verdict."""


def scored(program: str) -> Verdict:
    return replace(SCORED, output=program)


def leaves(program: str) -> Verdict:
    raise MachineLost("the machine left the cluster")


def loses(lost: str) -> Judge:
    """Return what scores every program but one, with which the machine leaves."""
    return lambda program: leaves(program) if program == lost else scored(program)


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
        if task == "Lease":
            return args[0]
        self.asked.append(task)
        if task == "run":
            return self._run(*args)
        return answer_bytes({"examine": self._examine, "open_job": self._open}[task](*args))

    def _examine(self) -> Answer:
        return Answer(facts=dict(self.facts))

    def _open(self, lease: FakePending, text: str) -> Answer:
        key = cast(Any, lease._future).result(LONG_S)
        with self._opening:
            if fault := self.opening():
                return Answer(fault=fault)
            assert Request.model_validate_json(text).slots == self.machine.slots
            if self.lacks_image:
                return Answer(fault="no image", lacks_image=True)
            if not lease.is_released:
                self.open.add(key)
            return Answer()

    def _run(self, key: str, text: str) -> Any:
        """Answer with a verdict, as from a machine that says that it is another one."""
        if key not in self.open:
            return answer_bytes(Answer(fault="the job is not open here"))
        source = read_source(text)
        program = source if isinstance(source, str) else source.main
        with self._lock:
            self.programs.append(program)
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            verdict = self.judge(program)
        finally:
            with self._lock:
                self._running -= 1
        if not isinstance(verdict, Verdict):
            return verdict
        return answer_bytes(Answer(verdict=verdict_fields(verdict) | {"machine": "another"}))

    def end(self, key: str) -> None:
        """End a job, since the head let go of its lease."""
        self.ended.append(key)
        self.open.discard(key)


class FakePending(Pending):
    """A task that a fake machine does at once; `TimeoutError` means that it never answers."""

    def __init__(self, work: Callable[[], Any], released: Callable[[], None]) -> None:
        super().__init__()
        self.is_released = False
        self._released = released
        self._never = threading.Event()
        future: Future[Any] = Future()
        self.follow(cast(Any, FakeFuture(future)))
        threading.Thread(target=self._do, args=(work, future), daemon=True).start()

    def _do(self, work: Callable[[], Any], future: Future[Any]) -> None:
        with suppress(InvalidStateError):  # it was lost before
            try:
                future.set_result(work())
            except MachineLost as error:
                self.lose(str(error))
            except TimeoutError:
                self._never.set()

    def release(self) -> None:
        """See `Pending.release`."""
        if not self.is_released:
            self.is_released = True
            self._released()

    def answer(self, timeout_s: float) -> Any:
        """See `Pending.answer`; what never answers is not waited for."""
        until = time.monotonic() + timeout_s
        wait_until(lambda: self._done.is_set() or self._never.is_set() or time.monotonic() >= until)
        return super().answer(0 if self._never.is_set() else timeout_s)


class FakeFuture:
    """A future as Dask has them."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future
        self.status = "finished"

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        self._future.add_done_callback(call)

    def cancel(self, *, force: bool) -> None:
        assert force

    def result(self, timeout: float) -> Any:
        return self._future.result(timeout)


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

    def submit(self, address: str, task: Callable[..., object], *args: object) -> FakePending:
        if address not in self._there:
            raise MachineLost(f"{address} is not there")
        one = self._there[address]
        ended = (lambda: one.end(str(args[0]))) if task.__name__ == "Lease" else lambda: None
        return FakePending(lambda: one.run(task.__name__, args), ended)


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
        aside_s: float = LONG_S,
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


def wait_for_jobs(*machines: FakeMachine, jobs: int = 1) -> None:
    wait_until(lambda: all(len(one.open) == jobs for one in machines))


def open_names(pool: ClusterPool) -> set[str]:
    return {address.removeprefix("tcp://") for address in pool._open}
