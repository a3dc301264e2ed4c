"""A sandbox whose slots are on the machines of a cluster.

The head keeps the books: which machine has a job open, which slots are free, who lost programs. A program goes to one
machine at a time, by a channel. If the machine leaves, does not answer or hands the program back, another one gets it,
and what the first may still answer is not looked at: there is one verdict.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from schemas.bundle import Source
from schemas.errors import OvernightError, SandboxUnavailable
from schemas.job import Job
from schemas.outcome import Outcome, Verdict
from tasks.evaluate.cluster import machine as tasks
from tasks.evaluate.cluster.channel import Channels, Sent
from tasks.evaluate.cluster.dask_engine import Machine, MachineLost, Members, Pending
from tasks.evaluate.cluster.messages import Answer, MessageFault, Request, read_answer, read_verdict, source_text
from tasks.evaluate.cluster.slots import ClusterSlots
from tasks.evaluate.container_worker import verdict_on_length
from tasks.evaluate.registry import create_backend
from tasks.evaluate.sandbox import ImageStore

_PART = 8 * 2**20
"""Length of a part of an image, bytes."""

_OPENING_S = 180.0
"""Seconds that a machine has to start the containers of a job, beside the time in which it runs programs."""

_LOADING_S = 600.0
"""Seconds that a machine has to load an image."""

_GRACE_S = 120.0
"""Seconds beyond the limits of a program, which a machine enforces itself, after which it has lost the program."""

_CLOSING_S, _CLOSING_UNOPENED_S = 12.0, 3.0
"""Seconds to wait until machines have ended a job: those that had it open, and those that were still opening it."""

_MAX_MACHINES = 3
"""Machines that may lose a program before its verdict is `sandbox_error`."""

_LOOK_S = 0.2
"""Seconds between two looks for new machines."""


@dataclass
class _Books:
    """State of the machines, as a pool knows it.

    Attributes:
        open: Machines that have the job open.
        tried: Machines that are opening it, or have it open.
        asked: Machines that were ever asked to open it and have not left since.
        programs: Number of verdicts of each machine, by name.
    """

    open: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    programs: Counter[str] = field(default_factory=Counter)


class ClusterPool:
    """A `Sandbox` on the machines of a cluster.

    Args:
        job: The job that programs are evaluated on.
        request: What a machine needs to open it; the number of slots is each machine's own.
        connection: The cluster, or the machines of it that are used.
        slots: Slots of the cluster, shared by the pools of a run.
        note: Called with messages about machines that are not used.
    """

    def __init__(
        self,
        job: Job,
        request: Request,
        connection: Members,
        slots: ClusterSlots,
        note: Callable[[str], None],
    ) -> None:
        self.job = job
        self._request = request
        self._connection = connection
        self._slots = slots
        self._note = note
        self._books = _Books()
        self._channels = Channels(connection, self._key)
        self._pending: set[Pending] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._openers = ThreadPoolExecutor(64, "overnight-cluster-open")
        rounds = len(job.inputs) * 2 if job.isolation else len(job.inputs) + 1
        self._limit_s = 2 * job.limits.wall_s * rounds + _GRACE_S
        self._opening_s = _OPENING_S + (self._limit_s - _GRACE_S)  # it runs the honest program
        self._recruiter = threading.Thread(target=self._recruit, name="overnight-recruiter", daemon=True)
        self._recruiter.start()

    def evaluate(self, source: Source) -> Verdict:
        """See `Sandbox.evaluate`.

        Raises:
            SandboxUnavailable: If the cluster has had no machine for this job for a while.
        """
        if (too_long := verdict_on_length(source)) is not None:
            return too_long
        text, reasons = source_text(source), list[str]()
        confirmed = text if self._request.is_fresh else ""
        while len(reasons) < _MAX_MACHINES and not self._closing.is_set():
            machine = self._slots.take(self._may_take, self._closing.is_set, confirmed)
            if machine is None:
                break
            verdict, lost = self._judged(machine, text)
            if verdict is not None:
                return verdict
            reasons.append(lost)
        if self._closing.is_set():
            return Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")
        if not reasons:
            raise SandboxUnavailable(
                f"no machine of the cluster can evaluate{self._slots.reasons()}",
                remedy="`overnight cluster show ADDRESS` lists its machines; one joins with: overnight worker ADDRESS",
            )
        return Verdict(Outcome.SANDBOX_ERROR, error=f"no machine could run it: {'; '.join(reasons)}"[:2000])

    @property
    def programs(self) -> Counter[str]:
        """Number of verdicts of each machine, by name."""
        return Counter(self._books.programs)

    @property
    def open_machines(self) -> set[str]:
        """Addresses of the machines that have the job open."""
        with self._lock:
            return set(self._books.open)

    def _may_take(self, machine: Machine) -> bool:
        return machine.address in self._books.open

    def _judged(self, machine: Machine, text: str) -> tuple[Verdict | None, str]:
        """Return the verdict of a machine of which a slot was taken, or none and why it lost the program."""
        done = SimpleQueue[Sent]()

        def end(sent: Sent) -> None:
            self._slots.release(machine)
            done.put(sent)

        sent = Sent(machine, text, end)
        self._channels.send(sent)
        try:
            done.get(timeout=self._limit_s)
        except Empty:
            sent.end(fault=f"no answer within {self._limit_s:.0f} s")
        verdict, lost = self._read(sent)
        if verdict is not None:
            self._slots.note_answer(machine, verdict.wall_s, "" if self._request.is_fresh else text)
        return verdict, f"{machine.name}: {lost}"

    def _read(self, sent: Sent) -> tuple[Verdict | None, str]:
        """Return a machine's verdict on a program, or none and why it has been lost there."""
        machine, fault = sent.machine, sent.fault
        if sent.verdict is not None:
            try:
                verdict = read_verdict(sent.verdict, self.job, machine.name)
                self._books.programs[machine.name] += 1
                return verdict, ""
            except MessageFault as error:
                fault = str(error)
        if not self._closing.is_set():
            self._give_up(machine, fault)
        return None, fault

    def _give_up(self, machine: Machine, fault: str) -> None:
        """Stop using a machine for now; it is asked to open the job again once it is no longer set aside."""
        with self._lock:
            self._books.open.discard(machine.address)
            self._books.tried.discard(machine.address)
        if self._slots.set_aside(machine, fault):
            self._note(f"machine {machine.name} is set aside: {fault}")

    def _call(self, machine: Machine, task: Callable[..., bytes], *args: object, timeout_s: float) -> Answer:
        pending = self._connection.submit(machine.address, task, *args)
        with self._lock:
            self._pending.add(pending)
        try:
            return read_answer(pending.answer(timeout_s))
        finally:
            with self._lock:
                self._pending.discard(pending)

    def _key(self, machine: Machine) -> str:
        return self._for(machine).key

    def _for(self, machine: Machine) -> Request:
        return self._request.model_copy(update={"slots": machine.slots})

    def _recruit(self) -> None:
        """Have every machine open the job, those that join later, too."""
        while not self._closing.is_set():
            machines = self._connection.machines
            with self._lock:
                self._books.open &= machines.keys()
                self._slots.update(machines)
                self._books.tried &= machines.keys()
                new = [machine for address, machine in machines.items() if address not in self._books.tried]
                self._books.tried |= {machine.address for machine in new if self._slots.is_usable(machine)}
            self._books.asked &= machines.keys()
            self._channels.look(machines)
            for machine in new:
                self._books.asked.add(machine.address)
                if self._slots.is_usable(machine):
                    self._openers.submit(self._open, machine)
            self._closing.wait(_LOOK_S)

    def _open(self, machine: Machine) -> None:
        try:
            fault = self._difference(machine) or self._fault_of_opening(machine)
        except (MachineLost, MessageFault, OvernightError, OSError) as error:
            fault = str(error)
        if self._closing.is_set():
            self._end(machine)(_CLOSING_S)
            return
        if fault:
            self._give_up(machine, fault)
            return
        with self._lock:
            self._books.open.add(machine.address)
        self._slots.notify()

    def _difference(self, machine: Machine) -> str:
        """Return what a machine has in another version than the head; empty if there is nothing."""
        return tasks.difference(self._call(machine, tasks.examine, timeout_s=_OPENING_S).facts)

    def _fault_of_opening(self, machine: Machine) -> str:
        request = self._for(machine).model_dump_json()
        with self._slots.alone(machine):  # another pool may be sending the same image
            answer = self._call(machine, tasks.open_job, request, timeout_s=self._opening_s)
            if answer.lacks_image:
                if fault := self._send_image(machine):
                    return fault
                answer = self._call(machine, tasks.open_job, request, timeout_s=self._opening_s)
            return answer.fault

    def _send_image(self, machine: Machine) -> str:
        """Send the image to a machine that lacks it; return why it does not have it then, if so."""
        self._note(f"sending the image to {machine.name}, once")
        backend = create_backend(self._request.backend)
        try:
            if not isinstance(backend, ImageStore):
                return f"it has no image {self._request.image}"
            parts = _parts(backend.save_image(self._request.image))
            for number, (part, is_last) in enumerate(parts):
                arguments = (self._request.backend, self._request.image, number, part, is_last)
                answer = self._call(machine, tasks.take_image_part, *arguments, timeout_s=_LOADING_S)
                if answer.fault:
                    return answer.fault
        finally:
            backend.close()
        return ""

    def close(self) -> None:
        """End the job on every machine; calling it again does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._slots.notify()
        self._recruiter.join()
        with self._lock:
            pending = list(self._pending)
        for one in pending:
            one.lose("the sandbox was closed")
        self._channels.close()
        self._openers.shutdown(wait=False, cancel_futures=True)
        machines = self._connection.machines
        ends = [(address, self._end(machine)) for address, machine in machines.items() if address in self._books.asked]
        begin = time.monotonic()
        for address, end in sorted(ends, key=lambda one: one[0] not in self._books.open):
            wait_s = _CLOSING_S if address in self._books.open else _CLOSING_UNOPENED_S
            end(max(0.1, begin + wait_s - time.monotonic()))

    def _end(self, machine: Machine) -> Callable[[float], None]:
        """Begin to end the job on a machine; return what waits for it."""
        try:
            pending = self._connection.submit(machine.address, tasks.close_job, self._key(machine))
        except MachineLost:
            return lambda _: None

        def wait(timeout_s: float) -> None:
            try:
                pending.answer(timeout_s)
            except MachineLost:
                return  # its containers end with it

        return wait


def _parts(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces joined to larger parts, each with whether it is the last."""
    part = bytearray()
    for piece in pieces:
        if len(part) >= _PART:
            yield bytes(part), False
            part.clear()
        part += piece
    yield bytes(part), True
