"""A machine's side of a channel: programs that a head has sent, and their verdicts until the head takes them.

An exchange brings programs, which are started at once, and answers as soon as there is a verdict, with all that are
there. It waits a moment for more if programs take long, since those that began together end together.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from tasks.evaluate.cluster.messages import MAX_ANSWER, Answer, Exchange, answer_bytes

POLL_S = 10.0
"""Seconds after which an exchange answers without a verdict, so that the head sees that the machine is there."""

_GATHERING_SHARE, _MAX_GATHERING_S = 0.01, 0.05
"""Seconds for which a verdict waits for others: a hundredth of what programs take, at most a twentieth of a second."""

_WEIGHT = 0.1
"""Weight of a program in the moving average of seconds."""

_MAX_BATCH = MAX_ANSWER // 2
"""Length of the verdicts of one answer, bytes, unless a single verdict is longer."""

_MAX_MAILBOXES = 64
"""Mailboxes of a job; beyond, the one that was used least recently is given up."""


class HandedBack(Exception):
    """This machine cannot evaluate programs, through no fault of theirs."""


Evaluate = Callable[[str], dict[str, Any]]
"""Returns the fields of the verdict on a program.

Raises:
    HandedBack: If this machine cannot evaluate it.
"""


class Mailbox:
    """Programs of one channel. Thread-safe.

    Args:
        evaluate: Evaluates a program.
        threads: Threads in which programs are evaluated.
    """

    def __init__(self, evaluate: Evaluate, threads: Executor) -> None:
        self._evaluate, self._threads = evaluate, threads
        self._running: set[str] = set()
        self._verdicts: dict[str, tuple[dict[str, Any], int]] = {}
        self._newest = 0
        self._usual_s = 0.0
        self._fault = ""
        self._changed = threading.Condition()

    def exchange(self, message: Exchange) -> Answer:
        """Start programs; wait for verdicts and return them, but leave them to a later exchange if one has come.

        If this machine hands programs back, the answer has a fault beside the verdicts that are there.
        """
        with self._changed:
            self._newest = max(self._newest, message.number)
            if not self._fault:
                for number, program in message.programs.items():
                    self._start(number, program)
            self._changed.notify_all()
            self._wait(message.number)
            return Answer(verdicts=self._taken() if message.number == self._newest else {}, fault=self._fault)

    def end(self, reason: str) -> None:
        """Hand back all programs that have no verdict."""
        with self._changed:
            self._fault = self._fault or reason
            self._changed.notify_all()

    def _start(self, number: str, program: str) -> None:
        if number not in self._running and number not in self._verdicts:
            self._running.add(number)
            self._threads.submit(self._run, number, program)

    def _run(self, number: str, program: str) -> None:
        begin, reason, is_done = time.monotonic(), "its worker failed", False
        try:
            fields = self._evaluate(program)
            length = len(answer_bytes(Answer(verdicts={number: fields})))
            self._keep(number, fields, length, time.monotonic() - begin)
            is_done = True
        except HandedBack as fault:
            reason = str(fault)
        finally:
            if not is_done:
                self.end(reason)

    def _keep(self, number: str, fields: dict[str, Any], length: int, seconds: float) -> None:
        """Keep a verdict until an exchange takes it."""
        with self._changed:
            self._usual_s += _WEIGHT * (seconds - self._usual_s)
            self._running.discard(number)
            self._verdicts[number] = fields, length
            self._changed.notify_all()

    def _wait(self, number: int) -> None:
        """Wait for a verdict, and then for a moment for more; no longer once a later exchange has come."""

        def is_over() -> bool:
            return bool(self._fault) or self._newest > number

        self._changed.wait_for(lambda: bool(self._verdicts) or is_over(), POLL_S)
        gathering_s = min(_MAX_GATHERING_S, _GATHERING_SHARE * self._usual_s)
        self._changed.wait_for(lambda: not self._running or is_over(), gathering_s)

    def _taken(self) -> dict[str, dict[str, Any]]:
        """Take out as many verdicts as one answer may have, in the order in which they came."""
        taken: dict[str, dict[str, Any]] = {}
        total = 0
        for number, (fields, length) in list(self._verdicts.items()):
            total += length
            if taken and total > _MAX_BATCH:
                break
            taken[number] = fields
            del self._verdicts[number]
        return taken


class Mailboxes:
    """Mailboxes of a job, one for each channel, which share the threads in which programs are evaluated.

    Args:
        evaluate: Evaluates a program.
        slots: Programs that are evaluated at the same time; others wait for their turn.
    """

    def __init__(self, evaluate: Evaluate, slots: int) -> None:
        self._evaluate = evaluate
        self._threads = ThreadPoolExecutor(slots, "overnight-program")
        self._mailboxes: OrderedDict[str, Mailbox] = OrderedDict()
        self._fault = ""
        self._lock = threading.Lock()

    def exchange(self, message: Exchange) -> Answer:
        """Exchange programs for verdicts; see `Mailbox.exchange`."""
        with self._lock:
            fault = self._fault
            mailbox = self._mailboxes.get(message.channel)
            if mailbox is None and message.awaits:
                fault = fault or "it no longer has the programs that it was sent"
            if fault:
                return Answer(fault=fault)
            mailbox = mailbox or Mailbox(self._evaluate, self._threads)
            self._mailboxes[message.channel] = mailbox
            self._mailboxes.move_to_end(message.channel)
            if len(self._mailboxes) > _MAX_MAILBOXES:
                self._mailboxes.popitem(last=False)[1].end("it has too many channels")
        return mailbox.exchange(message)

    def close(self, reason: str) -> None:
        """Hand back all programs, which are not started any more; those that run end with their containers."""
        with self._lock:
            self._fault = self._fault or reason
            mailboxes = list(self._mailboxes.values())
        for mailbox in mailboxes:
            mailbox.end(reason)
        self._threads.shutdown(wait=False, cancel_futures=True)
