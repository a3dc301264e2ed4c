"""One slot: one runner at a time, one candidate at a time, and a fresh runner when one has died."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from schemas.errors import SandboxUnavailable
from schemas.job import Job
from schemas.outcome import Outcome, Verdict
from tasks.evaluate import delivery
from tasks.evaluate.judge import Reply, ReplyFault, judge, read_header
from tasks.evaluate.sandbox import Channel, Death
from tasks.evaluate.wire import FrameBuffer, WireFault

_START_S = 60.0
"""Seconds a runner has to say that it is ready."""

_SLACK_S = 30.0
"""Seconds after which a runner that should have enforced its own limits is taken for dead."""

_TRIES = 2
"""Evaluations that one candidate may lose, with its container or without, before that is our fault."""

MAX_SOURCE = 2**20
"""Characters of a program; a longer one is not worth a container's memory."""


class RunnerDied(Exception):
    """The runner ended, or stopped answering, without having been asked to."""

    def __init__(self, death: Death) -> None:
        super().__init__(death.reason)
        self.death = death


class ContainerWorker:
    """Judges one candidate at a time. `close` may be called from any thread, all else from one at a time."""

    def __init__(self, job: Job, launch: Callable[[], Channel], *, own_users: bool = True) -> None:
        self._job = job
        self._launch = launch
        self._job_frame = delivery.job_frame(job, own_users=own_users)
        self._channel: Channel | None = None
        self._frames = FrameBuffer()
        self._number = 0
        self._closed = False
        self._lock = threading.Lock()
        self.starts = 0
        """Runners started so far."""
        self.versions: dict[str, str] = {}
        """Of Python and numpy in the image, by name; known once started."""

    def start(self) -> None:
        """Starts a runner unless there is one.

        Raises:
            SandboxUnavailable: If none can be started.
        """
        if self._channel is not None:
            return
        channel = self._launch()
        with self._lock:
            self._channel, self._frames = channel, FrameBuffer()
            if self._closed:
                channel.close()
        self.starts += 1
        try:
            self._send(channel, delivery.modules_frame() + self._job_frame, _START_S)
            self.versions = json.loads(self._read_frame(channel, time.monotonic() + _START_S))
        except (RunnerDied, ValueError) as fault:
            self._drop()
            raise SandboxUnavailable(
                f"the sandbox started and ended at once: {fault}",
                remedy="Look at it with `overnight doctor`; `make setup` makes the image anew.",
            ) from fault

    def evaluate(self, source: str) -> Verdict:
        """The one verdict on a program, whatever dies meanwhile."""
        if len(source) > MAX_SOURCE:
            return Verdict(
                Outcome.CRASHED, error=f"the program has {len(source)} characters, at most {MAX_SOURCE} are run"
            )
        death = Death("the sandbox was closed")
        for _ in range(_TRIES):
            if self._closed:
                break
            try:
                self.start()
                verdict = judge(self._ask(source), self._job)
                if verdict.outcome is not Outcome.SANDBOX_ERROR:
                    return verdict
                death = Death(verdict.error)
                continue
            except RunnerDied as died:
                death = died.death
            except ReplyFault as fault:
                death = Death(str(fault))
            except SandboxUnavailable as fault:
                death = Death(str(fault))
                break
            self._drop()
        return self._lost(death)

    def close(self) -> None:
        """Ends the runner, for good."""
        with self._lock:
            self._closed = True
            channel = self._channel
        if channel is not None:
            channel.close()

    def _ask(self, source: str) -> Reply:
        """Sends one program and waits for its reply."""
        channel = self._channel
        assert channel is not None, "started before"
        # Loading has the time of an input; in a split evaluation it is done for each.
        rounds = len(self._job.inputs) * 2 if self._job.isolation else len(self._job.inputs) + 1
        patience_s = self._job.limits.wall_s * rounds + _SLACK_S
        sent, until = time.time(), time.monotonic() + patience_s
        self._number += 1
        self._send(channel, delivery.request(self._number, source, self._job), _SLACK_S)
        while not (header := self._read_frame(channel, until, sent)):
            # The runner waits for a candidate that others keep from running. How long, it limits itself.
            until = time.monotonic() + patience_s
        results, output = (self._read_frame(channel, until, sent) for _ in range(2))
        answered = read_header(header).number
        if answered != self._number:
            raise RunnerDied(Death(f"expected the answer to candidate {self._number}, got that to {answered}"))
        return Reply(header, results, output)

    def _send(self, channel: Channel, data: bytes, timeout_s: float) -> None:
        sent = time.time()
        try:
            channel.send(data, timeout_s=timeout_s)
        except OSError as error:
            raise RunnerDied(channel.death(since_s=sent)) from error

    def _read_frame(self, channel: Channel, until: float, since_s: float = 0.0) -> bytes:
        """The next frame, until a time of the monotonic clock."""
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

    def _drop(self) -> None:
        """Ends a runner that is of no more use; the next candidate starts a fresh one."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _lost(self, death: Death) -> Verdict:
        if death.out_of_memory:
            limit = self._job.limits.memory_mib
            return Verdict(Outcome.OUT_OF_MEMORY, error=f"used more than {limit} MiB, and its container was ended")
        return Verdict(Outcome.SANDBOX_ERROR, error=death.reason)
