"""The head's side of channels: programs on their way to a machine and verdicts on their way back, in batches.

A task of Dask costs milliseconds of head, scheduler and machine. So one task, an *exchange*, brings all programs that
wait for a machine, and waits there for verdicts. A program that comes when nothing is under way leaves at once, also
while an exchange waits at the machine, which the next one releases. No more than these two are under way, so that
programs which come faster than a message goes there and back travel together.

If an exchange is lost or cannot be read, or the machine hands programs back, all programs of the channel are lost.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tasks.evaluate.cluster import machine as tasks
from tasks.evaluate.cluster.dask_engine import Machine, MachineLost, Members, Pending
from tasks.evaluate.cluster.mailbox import POLL_S
from tasks.evaluate.cluster.messages import Answer, Exchange, MessageFault, read_answer

_ANSWER_S = POLL_S + 120.0
"""Seconds after which an exchange that was not answered is lost."""

_AT_LEAST_S = 1.0
"""Seconds that an exchange takes at least which answers without a verdict, unless a later one took its place."""

_HOLD_S = 0.01
"""Seconds for which a machine that sent verdicts is kept waiting for as many programs, at most."""

_MAX_BATCH = 4 * 2**20
"""Length of the programs of one exchange, characters, unless a single program is longer."""

_AT_A_TIME = 2
"""Exchanges of a channel that are under way at the same time."""

_READERS = 16
_CLOSED = "the sandbox was closed"


class Sent:
    """A program that a machine was sent, until there is a verdict or it is lost there.

    Args:
        machine: The machine.
        text: The program, as `source_text` writes it.
        ended: Called once with this.

    Attributes:
        begun: When it was sent, as `time.monotonic` has it.
        has_arrived: Whether the machine has answered the exchange that brought it.
        is_over: Whether there is a verdict, or it is lost.
        verdict: Fields of the verdict, as the machine sent them.
        fault: Reason why it was lost.
    """

    def __init__(self, machine: Machine, text: str, ended: Callable[[Sent], None]) -> None:
        self.machine = machine
        self.text = text
        self.begun = time.monotonic()
        self.has_arrived = False
        self.is_over = False
        self.verdict: dict[str, Any] | None = None
        self.fault = ""
        self._ended = ended
        self._lock = threading.Lock()

    def end(self, verdict: dict[str, Any] | None = None, fault: str = "") -> None:
        """Take the verdict, or the reason of the loss; whatever comes later is not looked at."""
        with self._lock:
            if self.is_over:
                return
            self.verdict, self.fault, self.is_over = verdict, fault, True
        self._ended(self)


@dataclass
class _UnderWay:
    """An exchange that was not answered yet; `pending` is set once it was given to Dask."""

    begun: float
    pending: Pending | None = None


class Channel:
    """Programs of one job on one machine. Thread-safe.

    Args:
        job: Key of the job.
        submit: Gives the machine an exchange; raises `MachineLost`.
        readers: Threads in which answers are read.

    Attributes:
        fault: Reason why all its programs were lost; a channel that has one is not used any more.
    """

    def __init__(self, job: str, submit: Callable[[str], Pending], readers: Executor) -> None:
        self._job, self._submit, self._readers = job, submit, readers
        self._name = uuid.uuid4().hex
        self._waiting: deque[Sent] = deque()
        self._sent: dict[str, Sent] = {}
        self._programs = 0
        self._number = 0
        self._expected = 0
        self._under_way: dict[int, _UnderWay] = {}
        self.fault = ""
        self._changed = threading.Condition()

    def send(self, sent: Sent) -> None:
        """Send a program as soon as possible."""
        with self._changed:
            if not self.fault:
                self._waiting.append(sent)
                if 0 < self._expected <= len(self._waiting):
                    self._changed.notify_all()
        if self.fault:
            sent.end(fault=self.fault)
        self._exchange()

    def _exchange(self) -> None:
        """Begin whatever exchanges are due."""
        while (message := self._next()) is not None:
            try:
                pending = self._submit(message.model_dump_json())
            except MachineLost as error:
                self.lose(str(error))
                return
            with self._changed:
                if message.number in self._under_way:
                    self._under_way[message.number].pending = pending
            if self.fault:
                pending.lose(self.fault)
            pending.when_done(lambda message=message, pending=pending: self._read_soon(message, pending))

    def _next(self) -> Exchange | None:
        """Return an exchange that is due: there are programs, or verdicts are awaited and no other asks for them."""
        with self._changed:
            if self.fault or self._expected or len(self._under_way) >= _AT_A_TIME:
                return None
            awaited = [sent for sent in self._sent.values() if not sent.is_over]
            programs = self._next_programs()
            if not programs and (self._under_way or not awaited):
                return None
            awaits = any(sent.has_arrived for sent in awaited)
            self._number += 1
            self._under_way[self._number] = _UnderWay(time.monotonic())
            return Exchange(job=self._job, channel=self._name, number=self._number, programs=programs, awaits=awaits)

    def _next_programs(self) -> dict[str, str]:
        programs: dict[str, str] = {}
        chars = 0
        while self._waiting:
            chars += len(self._waiting[0].text)
            if programs and chars > _MAX_BATCH:
                break
            sent = self._waiting.popleft()
            self._programs += 1
            number = str(self._programs)
            self._sent[number], programs[number] = sent, sent.text
        return programs

    def _read_soon(self, message: Exchange, pending: Pending) -> None:
        if not self.fault:
            with contextlib.suppress(RuntimeError):  # the channels were closed
                self._readers.submit(self._read, message, pending)

    def _read(self, message: Exchange, pending: Pending) -> None:
        try:
            answer = read_answer(pending.answer(0))
        except (MachineLost, MessageFault) as error:
            self.lose(str(error))
            return
        verdicts, is_early = self._take(message, answer)
        for sent, verdict in verdicts:
            sent.end(verdict)
        if fault := answer.fault or ("it sent no verdict" if is_early else ""):
            self.lose(fault)
            return
        self._hold()
        self._exchange()

    def _take(self, message: Exchange, answer: Answer) -> tuple[list[tuple[Sent, dict[str, Any]]], bool]:
        """Return the programs that have a verdict now, and whether the machine answered without one too early."""
        with self._changed:
            under_way = self._under_way.pop(message.number, None)
            for number in message.programs.keys() & self._sent.keys():
                self._sent[number].has_arrived = True
            known = [number for number in answer.verdicts if number in self._sent]
            verdicts = [(self._sent.pop(number), answer.verdicts[number]) for number in known]
            if len(verdicts) > 1 or (verdicts and self._sent):
                self._expected = len(verdicts)
            is_early = under_way is not None and time.monotonic() < under_way.begun + _AT_LEAST_S
            return verdicts, is_early and not verdicts and message.number == self._number

    def _hold(self) -> None:
        """Wait for a moment until as many programs have come as verdicts, so that one exchange takes them all."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self.fault) or len(self._waiting) >= self._expected, _HOLD_S)
            self._expected = 0

    def lose(self, reason: str) -> None:
        """Lose all programs; calling it again does nothing."""
        with self._changed:
            if self.fault:
                return
            self.fault = reason
            lost = [*self._sent.values(), *self._waiting]
            pending = [one.pending for one in self._under_way.values() if one.pending is not None]
            self._sent.clear()
            self._waiting.clear()
            self._changed.notify_all()
        for one in pending:
            one.lose(reason)
        for sent in lost:
            sent.end(fault=reason)

    def is_overdue(self) -> bool:
        """Return whether an exchange should have been answered long ago."""
        with self._changed:
            oldest = min((one.begun for one in self._under_way.values()), default=time.monotonic())
            return time.monotonic() > oldest + _ANSWER_S


class Channels:
    """Channels of a pool, one for each machine that programs are sent to. Thread-safe.

    Args:
        members: The machines.
        key: Returns the key of the job on a machine.
    """

    def __init__(self, members: Members, key: Callable[[Machine], str]) -> None:
        self._members, self._key = members, key
        self._readers = ThreadPoolExecutor(_READERS, "overnight-exchange")
        self._channels: dict[str, Channel] = {}
        self._is_closed = False
        self._lock = threading.Lock()

    def send(self, sent: Sent) -> None:
        """Send a program to its machine."""
        channel = self._channel(sent.machine)
        if channel is None:
            sent.end(fault=_CLOSED)
        else:
            channel.send(sent)

    def _channel(self, machine: Machine) -> Channel | None:
        """Return the channel to a machine, a new one if its last one was lost; `None` if all were closed."""

        def submit(text: str) -> Pending:
            return self._members.submit(machine.address, tasks.exchange, text)

        with self._lock:
            channel = self._channels.get(machine.address)
            if not self._is_closed and (channel is None or channel.fault):
                channel = self._channels[machine.address] = Channel(self._key(machine), submit, self._readers)
            return None if self._is_closed else channel

    def look(self, there: Collection[str]) -> None:
        """Lose the programs of machines that left or do not answer.

        Args:
            there: Addresses of the machines that are there.
        """
        with self._lock:
            gone = {address: one for address, one in self._channels.items() if address not in there}
            silent = {address: one for address, one in self._channels.items() if one.is_overdue()}
            for address in gone | silent:
                del self._channels[address]
        for channel in gone.values():
            channel.lose("the machine left the cluster")
        for channel in silent.values():
            channel.lose(f"no answer within {_ANSWER_S:.0f} s")

    def close(self) -> None:
        """Lose all programs."""
        with self._lock:
            self._is_closed = True
            channels = list(self._channels.values())
        for channel in channels:
            channel.lose(_CLOSED)
        self._readers.shutdown(wait=False, cancel_futures=True)
