from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.job import Call, Job
from overnight.schemas.outcome import Verdict
from overnight.tasks.evaluate.container_worker import ContainerWorker
from overnight.tasks.evaluate.runner.frames import REQUEST, frame
from overnight.tasks.evaluate.sandbox import Death

JOB = Job("evaluate", (Call((3,)),))
HEADER = {
    "broken": "",
    "status": 0,
    "wall_s": 0.1,
    "cpu_s": 0.1,
    "peak_mib": 1.0,
    "input_wall_s": [0.1],
    "loaded": True,
    "memory_kills": 0,
}


class FakeRunner:
    """Runner that reports that it is ready, then answers each request with `answer` of its number."""

    def __init__(self, answer: Callable[[int], bytes | Exception], death: Death | None = None) -> None:
        self.answer = answer
        self.why = death or Death("it died")
        self.out: list[bytes | Exception] = [frame(b'{"python": "3.13"}')]
        self.started = False
        self.closed = False

    def send(self, data: bytes, *, timeout_s: float) -> None:
        if self.started:
            self.out.append(self.answer(REQUEST.unpack_from(data)[0]))
        self.started = True

    def receive(self, *, timeout_s: float) -> bytes:
        piece = self.out.pop(0) if self.out else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def death(self, *, since_s: float) -> Death:
        return self.why

    def close(self) -> None:
        self.closed = True


def good(number: int) -> bytes:
    header = json.dumps(HEADER | {"number": number}).encode()
    return frame(header) + frame(b'\n\n{"score": 1}\n') + frame(b"")


def worker_of(*runners: FakeRunner) -> ContainerWorker:
    launched = list(runners)
    return ContainerWorker(JOB, lambda: launched.pop(0))


DYING: dict[str, Callable[[int], bytes | Exception]] = {
    "ends": lambda number: b"",
    "ends halfway": lambda number: good(number)[:-10],
    "hangs": lambda number: TimeoutError(),
    "breaks": lambda number: ConnectionResetError("reset"),
    "answers another": lambda number: good(number + 1),
    "lies in the header": lambda number: frame(b"{}") + frame(b"") + frame(b""),
    "sends noise": lambda number: b"\xff" * 100,
}


@pytest.mark.parametrize("answer", DYING.values(), ids=DYING)
def test_a_lost_runner_is_no_verdict_and_the_next_program_gets_a_new_one(answer: Callable[[int], bytes | Exception]):
    first, second = FakeRunner(answer), FakeRunner(good)
    worker = worker_of(first, second)
    lost = worker.run("x")
    assert isinstance(lost, Death)
    assert lost.reason
    assert first.closed
    assert scores(worker.run("x")) == scores(worker.run("x")) == (1.0,)
    assert worker.starts == 2, "the second runner is kept"


def scores(found: Verdict | Death) -> tuple[float, ...]:
    assert isinstance(found, Verdict), found
    return found.scores


def test_an_engine_outage_is_no_verdict_and_ends():
    up = False

    def launch() -> FakeRunner:
        if not up:
            raise SandboxUnavailable("no engine")
        return FakeRunner(good)

    worker = ContainerWorker(JOB, launch)
    assert worker.run("x") == Death("no engine")
    up = True
    assert scores(worker.run("x")) == (1.0,)


def test_a_runner_that_never_becomes_ready_raises_with_the_reason():
    runner = FakeRunner(good, Death("no python3"))
    runner.out = []
    with pytest.raises(SandboxUnavailable, match="no python3"):
        worker_of(runner).start()
    assert runner.closed


def test_a_closed_slot_starts_nothing():
    worker = worker_of()
    worker.close()
    assert worker.run("x") == Death("the sandbox was closed")
    assert worker.starts == 0
