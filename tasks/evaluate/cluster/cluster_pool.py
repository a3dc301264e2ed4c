"""A sandbox whose slots are on the machines of a cluster.

The head keeps the books: which machine has a job open, which slots are free, who lost programs. A program is one task
of Dask on one machine at a time. If the machine leaves, does not answer or hands the program back, another one gets it,
and what the first may still answer is not looked at: there is one verdict.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from overnight.schemas.bundle import Source
from overnight.schemas.errors import OvernightError, SandboxUnavailable
from overnight.schemas.job import Job
from overnight.schemas.outcome import Verdict
from overnight.tasks.evaluate.cluster import machine as tasks
from overnight.tasks.evaluate.cluster.dask_client import Connection, Machine, MachineLost, Pending
from overnight.tasks.evaluate.cluster.messages import (
    Answer,
    MessageFault,
    Request,
    read_answer,
    read_verdict,
    source_text,
)
from overnight.tasks.evaluate.cluster.slots import ClusterSlots
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import Death, ImageStore, Sandbox

_PART = 8 * 2**20
"""Length of a part of an image, bytes."""

_OPENING_S = 180.0
"""Seconds that a machine has to start the containers of a job, beside the time in which it runs programs."""

_LOADING_S = 600.0
"""Seconds that a machine has to load an image."""

_GRACE_S = 900.0
"""Seconds beyond the limits of a program, which a machine enforces itself, after which it has lost the program. A
machine that has nights of its own, too, makes a program wait for minutes; one that is gone is noticed without this."""

_LOOK_S = 0.2
"""Seconds between two looks for new machines."""


class ClusterPool(Sandbox):
    """A `Sandbox` on the machines of a cluster.

    Of the request, the number of slots is each machine's own. The slots are shared by the pools of a run. Messages
    about machines that are not used go to `note`.
    """

    def __init__(
        self, job: Job, request: Request, connection: Connection, slots: ClusterSlots, note: Callable[[str], None]
    ) -> None:
        super().__init__(job)
        self._request = request
        self._connection = connection
        self._slots = slots
        self._note = note
        self._programs = Counter[str]()
        self._leases: dict[str, Pending | None] = {}
        self._open: dict[str, str] = {}
        self._pending: set[Pending] = set()
        self._lock = threading.Lock()
        self._openers = ThreadPoolExecutor(64, "overnight-cluster-open")
        self._limit_s = 2 * job.limits.wall_s * job.rounds + _GRACE_S
        self._opening_s = _OPENING_S + (self._limit_s - _GRACE_S)  # it runs the honest program
        self._recruiter = threading.Thread(target=self._recruit, name="overnight-recruiter", daemon=True)
        self._recruiter.start()

    def run(self, source: Source) -> Verdict | Death:
        """See `Sandbox.run`. A machine that is at fault is set aside, so that the next run is on another.

        Raises:
            SandboxUnavailable: If the cluster has had no machine for this job for a while.
        """
        text = source_text(source)
        confirmed = text if self._request.is_fresh else ""
        machine = self._slots.take(self._may_take, self._closing.is_set, confirmed)
        if machine is not None:
            return self._run_on(machine, text)
        if self._closing.is_set():
            return Death("the sandbox was closed")
        raise SandboxUnavailable(
            f"no machine of the cluster can evaluate{self._slots.reasons()}",
            remedy="`overnight cluster show ADDRESS` lists its machines; one joins with: "
            "overnight cluster worker ADDRESS",
        )

    @property
    def programs(self) -> Counter[str]:
        """Number of verdicts of each machine, by name."""
        return Counter(self._programs)

    def _may_take(self, machine: Machine) -> bool:
        return machine.address in self._open and not self._closing.is_set()

    def _run_on(self, machine: Machine, text: str) -> Verdict | Death:
        """Run a program on a machine of which a slot was taken."""
        key = self._open.get(machine.address, "")
        try:
            answer = self._call(machine, tasks.run, key, text, timeout_s=self._limit_s)
            if answer.lost:
                return Death(f"{machine.name}: {answer.lost}", answer.out_of_memory)
            if answer.verdict is None:
                raise MessageFault(answer.fault or "it sent no verdict")
            verdict = read_verdict(answer.verdict, self.job, machine.name)
        except (MachineLost, MessageFault) as error:
            if not self._closing.is_set():
                self._give_up(machine, str(error))
            return Death(f"{machine.name}: {error}")
        finally:
            self._slots.release(machine)
        self._programs[machine.name] += 1
        self._slots.note_answer(machine, verdict.wall_s, "" if self._request.is_fresh else text)
        return verdict

    def _give_up(self, machine: Machine, fault: str) -> None:
        """Stop using a machine for now; it is asked to open the job again once it is no longer set aside."""
        self._end(machine.address)
        if self._slots.set_aside(machine, fault):
            self._note(f"machine {machine.name} is set aside: {fault}")

    def _end(self, address: str) -> None:
        with self._lock:
            self._open.pop(address, None)
            lease = self._leases.pop(address, None)
        if lease is not None:
            lease.release()

    def _call(self, machine: Machine, task: Callable[..., bytes], *args: object, timeout_s: float) -> Answer:
        pending = self._connection.submit(machine.address, task, *args)
        with self._lock:
            self._pending.add(pending)
        if self._closing.is_set():
            pending.lose("the sandbox was closed")
        try:
            return read_answer(pending.answer(timeout_s))
        finally:
            with self._lock:
                self._pending.discard(pending)

    def _recruit(self) -> None:
        """Have every machine open the job, those that join later, too."""
        while not self._closing.is_set():
            machines = self._connection.machines
            self._slots.update(machines)
            for address in self._ended(machines):
                self._end(address)
            for address, machine in machines.items():
                if address not in self._leases and self._slots.is_usable(machine):
                    self._leases[address] = None
                    self._openers.submit(self._open_on, machine)
            self._closing.wait(_LOOK_S)

    def _ended(self, machines: Mapping[str, Machine]) -> list[str]:
        """Return the machines that left, or on which the job was ended since the connection broke."""
        with self._lock:
            lost = [one for one in self._open if (lease := self._leases.get(one)) is None or not lease.is_held]
            return [*(self._leases.keys() - machines.keys()), *lost]

    def _open_on(self, machine: Machine) -> None:
        key = uuid.uuid4().hex  # another each time, so that the end of an earlier lease does not end this job
        try:
            facts = self._call(machine, tasks.examine, timeout_s=_OPENING_S).facts
            fault = tasks.difference(facts) or self._fault_of_opening(machine, key)
        except (MachineLost, MessageFault, OvernightError, OSError) as error:
            fault = str(error)
        if self._closing.is_set():
            self._end(machine.address)
        elif fault:
            self._give_up(machine, fault)
        else:
            with self._lock:
                if self._leases.get(machine.address) is not None:  # it has not left meanwhile
                    self._open[machine.address] = key
            self._slots.notify()

    def _fault_of_opening(self, machine: Machine, key: str) -> str:
        """Open the job on a machine; return why it does not, if so."""
        lease = self._connection.submit(machine.address, tasks.Lease, key)
        with self._lock:
            self._leases[machine.address] = lease
        request = self._request.model_copy(update={"slots": machine.slots}).model_dump_json()
        with self._slots.alone(machine):  # another pool may be sending the same image
            answer = self._call(machine, tasks.open_job, lease, request, timeout_s=self._opening_s)
            if answer.lacks_image:
                if fault := self._send_image(machine):
                    return fault
                answer = self._call(machine, tasks.open_job, lease, request, timeout_s=self._opening_s)
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
        self._openers.shutdown(wait=False, cancel_futures=True)
        for address in list(self._leases):
            self._end(address)


def _parts(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces joined to larger parts, each with whether it is the last."""
    part = bytearray()
    for piece in pieces:
        if len(part) >= _PART:
            yield bytes(part), False
            part.clear()
        part += piece
    yield bytes(part), True
