"""Run one candidate at a time in a container's runner, and start a new runner after one has died."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from overnight.schemas.bundle import Source
from overnight.schemas.errors import OvernightError, QuestionRefused, SandboxUnavailable
from overnight.schemas.job import Job
from overnight.schemas.outcome import QUESTION_REFUSED, Outcome, Verdict
from overnight.schemas.question import MOST_ANSWER_CHARS, MOST_QUESTIONS, Ask, Question
from overnight.tasks.evaluate import delivery
from overnight.tasks.evaluate.delivery import FrameBuffer, WireFault
from overnight.tasks.evaluate.sandbox import Channel, Death
from overnight.tasks.evaluate.verdicts import Reply, ReplyFault, judge, read_header

_START_S = 60.0
"""Seconds a runner has to report that it is ready."""

_GRACE_S = 30.0
"""Seconds beyond the candidate's limits, which the runner enforces itself, after which the runner is considered
dead."""


class RunnerDied(Exception):
    """The runner exited, or stopped answering, without being asked to."""

    def __init__(self, death: Death) -> None:
        super().__init__(death.reason)
        self.death = death


class ContainerWorker:
    """One slot: a runner that judges one candidate at a time.

    `close` may be called from any thread; all other methods must be called from one thread at a time.
    """

    def __init__(
        self, job: Job, launch: Callable[[], Channel], *, own_users: bool = True, ask: Ask | None = None
    ) -> None:
        self._job = job
        self._ask = ask
        self._launch = launch
        self._job_frame = delivery.job_frame(job, own_users=own_users)
        self._channel: Channel | None = None
        self._frames = FrameBuffer()
        self._number = 0
        self._closed: Future[None] = Future()
        self._lock = threading.Lock()
        self.starts = 0
        """Number of runners started so far."""
        self.versions: dict[str, str] = {}
        """Versions of Python and of packages in the image, by name; empty before the first start."""

    def start(self) -> None:
        """Start a runner, unless there is one.

        Raises:
            SandboxUnavailable: If no runner can be started.
        """
        if self._channel is not None:
            return
        channel = self._launch()
        with self._lock:
            self._channel, self._frames = channel, FrameBuffer()
            if self._closed.done():
                channel.close()
        self.starts += 1
        try:
            self._send(channel, delivery.modules_frame() + self._job_frame, _START_S)
            self.versions = json.loads(self._read_frame(channel, time.monotonic() + _START_S))
        except (RunnerDied, ValueError) as fault:
            self._discard_runner()
            raise SandboxUnavailable(
                f"the sandbox started and ended at once: {fault}",
                remedy="Look at it with `overnight doctor`; `overnight doctor --fix` builds a missing image.",
            ) from fault

    def run(self, source: Source) -> Verdict | Death:
        """Run a program once; return its verdict, or why there is none. If its runner dies, the next one is new.

        Raises:
            OvernightError: If a question of the scoring is not answered now, and a later attempt may be.
        """
        if self._closed.done():
            return Death("the sandbox was closed")
        try:
            self.start()
            verdict = judge(self._exchange(source), self._job)
            return verdict if verdict.outcome is not Outcome.SANDBOX_ERROR else Death(verdict.error)
        except QuestionRefused:
            return QUESTION_REFUSED
        except SandboxUnavailable as fault:
            return Death(str(fault))
        except RunnerDied as died:
            death = died.death
        except ReplyFault as fault:
            death = Death(str(fault))
        self._discard_runner()
        return death

    def close(self) -> None:
        """End the runner permanently."""
        with self._lock:
            if not self._closed.done():
                self._closed.set_result(None)
            channel = self._channel
        if channel is not None:
            channel.close()

    def _exchange(self, source: Source) -> Reply:
        """Send one program and wait for its reply."""
        channel = self._channel
        assert channel is not None, "started before"
        timeout_s = self._job.limits.wall_s * self._job.rounds + _GRACE_S
        sent, until = time.time(), time.monotonic() + timeout_s
        self._number += 1
        self._send(channel, delivery.request(self._number, source, self._job), _GRACE_S)
        asked = Counter[tuple[str, int]]()
        while True:
            header = self._read_frame(channel, until, sent)
            if question := delivery.read_question(header):
                reply = self._answer(*question, asked, source)
                self._send(channel, delivery.frames.frame(json.dumps(reply).encode()), _GRACE_S)
            elif header:
                break
            # An empty frame is a heartbeat: other programs keep the candidate from running, and the runner itself
            # limits how long it waits for that.
            until = time.monotonic() + timeout_s
        results, output = (self._read_frame(channel, until, sent) for _ in range(2))
        answered = read_header(header).number
        if answered != self._number:
            raise RunnerDied(Death(f"expected the answer to candidate {self._number}, got that to {answered}"))
        return Reply(header, results, output)

    def _answer(self, text: str, place: int, asked: Counter[tuple[str, int]], source: Source) -> dict[str, str]:
        """Return the reply to a question on an input; `asked` counts those of this evaluation, by text and input."""
        if self._ask is None:
            return {"error": "no model is named that the scoring asks: --judge MODEL"}
        if sum(count for (_, other), count in asked.items() if other == place) >= MOST_QUESTIONS:
            return {"error": f"at most {MOST_QUESTIONS} questions are answered on an input"}
        program = "" if isinstance(source, str) else source.name
        question = Question(text, place, asked[text, place], program)
        asked[text, place] += 1
        begun: list[Future[Any]] = [self._ask(question), self._closed]
        wait(begun, return_when=FIRST_COMPLETED)
        if not begun[0].done():
            raise RunnerDied(Death("the sandbox was closed"))
        try:
            answer: str = begun[0].result()
        except OvernightError:
            self._discard_runner()  # it still waits
            raise
        if len(answer) > MOST_ANSWER_CHARS:
            return {"error": f"the answer has {len(answer)} characters, at most {MOST_ANSWER_CHARS} are passed on"}
        return {"answer": answer}

    def _send(self, channel: Channel, data: bytes, timeout_s: float) -> None:
        sent = time.time()
        try:
            channel.send(data, timeout_s=timeout_s)
        except OSError as error:
            raise RunnerDied(channel.death(since_s=sent)) from error

    def _read_frame(self, channel: Channel, until: float, since_s: float = 0.0) -> bytes:
        """Return the next frame; wait until a time of the monotonic clock, seconds."""
        try:
            while (frame := self._frames.take()) is None:
                data = channel.receive(timeout_s=max(0.1, until - time.monotonic()))
                if not data:
                    raise RunnerDied(channel.death(since_s=since_s))
                self._frames.feed(data)
        except TimeoutError as error:
            raise RunnerDied(Death("the sandbox stopped answering")) from error
        except (OSError, WireFault) as error:
            raise RunnerDied(Death(f"the connection to the sandbox broke: {error}")) from error
        return frame

    def _discard_runner(self) -> None:
        """End a runner that cannot be used any more; the next candidate starts a new one."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
