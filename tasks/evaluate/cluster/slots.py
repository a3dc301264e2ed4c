"""The slots of a cluster: which are free, and which machines are set aside since they lost programs."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tasks.evaluate.cluster.dask_engine import Machine
from tasks.evaluate.cluster.machine_state import MachineFigures, MachineState

_NO_MACHINE_S = 60.0
"""Seconds without a machine that can be used, after which the sandbox is unavailable."""

_ASIDE_S = (5.0, 30.0, 300.0)
"""Seconds for which a machine is set aside, longer each time."""

_SHORT_S = 0.5
"""Seconds below which programs are so short that a slot would often wait for the next one."""

_WEIGHT = 0.1
"""Weight of a program in the moving average of seconds."""

_WAIT_S = 2.0
"""Seconds after which whoever waits for a slot looks at the time again."""

_SOON_S = 10.0
"""Seconds within which a machine that is set aside comes back soon."""

_REMEMBERED = 10_000
"""Programs of which the machine that evaluated them is remembered."""


@dataclass(eq=False)
class _Waiter:
    """A thread that waits for a slot.

    Attributes:
        may_take: Returns whether a machine may be used.
        confirmed: Digest of the program that is confirmed; empty if none is.
        machine: The machine of the slot that it was given.
        is_woken: Whether it is to look again, or was given a slot.
    """

    may_take: Callable[[Machine], bool]
    confirmed: str
    machine: Machine | None = None
    is_woken: threading.Event = field(default_factory=threading.Event)


class ClusterSlots:
    """Free slots of the machines, shared by all pools of a run.

    Args:
        no_machine_s: Seconds to wait for a machine while there is none.
        aside_s: Seconds for which a machine is set aside after its first, second, … loss in a row.
    """

    def __init__(self, no_machine_s: float = _NO_MACHINE_S, aside_s: tuple[float, ...] = _ASIDE_S) -> None:
        self._no_machine_s, self._aside_s = no_machine_s, aside_s
        self._machines: dict[str, Machine] = {}
        self._used = Counter[str]()
        self._waiting: dict[_Waiter, None] = {}
        self._losses = Counter[str]()
        self._aside: dict[str, tuple[float, str]] = {}
        self._judged_by: OrderedDict[str, str] = OrderedDict()
        self._typical_s = _SHORT_S
        self._figures = MachineFigures()
        self._alone: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """Number of slots of all machines that are there."""
        with self._lock:
            return sum(machine.slots for machine in self._machines.values())

    def update(self, machines: Mapping[str, Machine]) -> set[str]:
        """Take notice of who is there; return those that are no longer set aside."""
        now = time.monotonic()
        with self._lock:
            self._machines = dict(machines)
            back = {address for address, (until, _) in self._aside.items() if until <= now}
            for address in back:
                del self._aside[address]
            self._serve()
            return back

    def is_usable(self, machine: Machine) -> bool:
        """Return whether a machine is there and not set aside."""
        with self._lock:
            return machine.address in self._machines and machine.address not in self._aside

    @contextlib.contextmanager
    def alone(self, machine: Machine) -> Iterator[None]:
        """Keep other pools from preparing a machine within the context."""
        with self._lock:
            lock = self._alone[machine.address]
        with lock:
            yield

    def set_aside(self, machine: Machine, reason: str) -> bool:
        """Do not use a machine for a while; return false if it left or is set aside already."""
        with self._lock:
            self._figures.note_fault(machine.name)
            if machine.address in self._aside or machine.address not in self._machines:
                return False
            wait_s = self._aside_s[min(self._losses[machine.name], len(self._aside_s) - 1)]
            self._losses[machine.name] += 1
            self._aside[machine.address] = time.monotonic() + wait_s, f"{machine.name}: {reason}"
            return True

    def note_answer(self, machine: Machine, wall_s: float, program: str = "") -> None:
        """Note that a machine gave a verdict.

        Args:
            machine: The machine.
            wall_s: Seconds of the program.
            program: The program, if another machine is to confirm it.
        """
        with self._lock:
            self._typical_s += _WEIGHT * (wall_s - self._typical_s)
            self._losses.pop(machine.name, None)
            self._figures.note_answer(machine.name)
            if program:
                self._judged_by[_digest(program)] = machine.name
            while len(self._judged_by) > _REMEMBERED:
                self._judged_by.popitem(last=False)

    @contextlib.contextmanager
    def taken(
        self, may_take: Callable[[Machine], bool], is_closed: Callable[[], bool], confirmed: str = ""
    ) -> Iterator[Machine | None]:
        """Hold a slot within the context; see `take`."""
        machine = self.take(may_take, is_closed, confirmed)
        try:
            yield machine
        finally:
            if machine is not None:
                self.release(machine)

    def take(
        self, may_take: Callable[[Machine], bool], is_closed: Callable[[], bool], confirmed: str = ""
    ) -> Machine | None:
        """Wait for a free slot and take it; return its machine, or `None` if there is no machine for a while.

        The machine with the largest share of free slots comes first.

        Args:
            may_take: Returns whether a machine may be used.
            is_closed: Returns whether to wait no longer; after `notify`, it is asked again.
            confirmed: A program that is confirmed, which another machine than the one that evaluated it runs, where
                there are several.
        """
        waiter, until = _Waiter(may_take, _digest(confirmed)), time.monotonic() + self._no_machine_s
        while True:
            with self._lock:
                usable = self._usable(waiter)
                if waiter.machine is None and not is_closed():
                    waiter.machine = self._taken_of(usable, self._room)
                if usable:
                    until = time.monotonic() + self._no_machine_s
                is_late = not usable and time.monotonic() >= until
                if waiter.machine is not None or is_closed() or (is_late and not waiter.confirmed):
                    self._waiting.pop(waiter, None)
                    return waiter.machine
                if is_late:
                    waiter.confirmed = ""  # rather by the machine that evaluated it than not at all
                    continue
                self._waiting[waiter] = None
                waiter.is_woken.clear()
            waiter.is_woken.wait(_WAIT_S)

    def _serve(self) -> None:
        """Give free slots to those that wait, in the order in which they came, and wake no others."""
        for waiter in list(self._waiting):
            if not self._free(self._machines.values(), self._room):
                return
            if chosen := self._taken_of(self._usable(waiter), self._room):
                waiter.machine = chosen
                del self._waiting[waiter]
                waiter.is_woken.set()

    def release(self, machine: Machine) -> None:
        """Give a slot back."""
        with self._lock:
            self._used[machine.address] -= 1
            self._serve()

    def _taken_of(self, machines: list[Machine], room: Callable[[Machine], int]) -> Machine | None:
        free = self._free(machines, room)
        if not free:
            return None
        chosen = min(free, key=lambda machine: self._used[machine.address] / machine.slots)
        self._used[chosen.address] += 1
        return chosen

    def _free(self, machines: Iterable[Machine], room: Callable[[Machine], int]) -> list[Machine]:
        return [machine for machine in machines if self._used[machine.address] < room(machine)]

    def _room(self, machine: Machine) -> int:
        """Return how many programs a machine may have at a time: of short ones some more, which wait there."""
        ahead = 1 + machine.slots // 4 if self._typical_s < _SHORT_S else 0
        return machine.slots + ahead

    def _usable(self, waiter: _Waiter) -> list[Machine]:
        """Return the machines that may run a program, whether they have a free slot or not.

        A confirmation waits for a machine that has not opened its job yet, or will soon be back, rather than be with
        the one that claims.
        """
        first, now = self._judged_by.get(waiter.confirmed), time.monotonic()
        others = [one for one in self._machines.values() if one.name != first and self._is_soon_there(one, now)]
        there = others or self._machines.values()
        return [machine for machine in there if machine.address not in self._aside and waiter.may_take(machine)]

    def _is_soon_there(self, machine: Machine, now: float) -> bool:
        """Return whether a machine is not set aside, or for a moment after its first loss."""
        until, _ = self._aside.get(machine.address, (now, ""))
        return until <= now or (until <= now + _SOON_S and self._losses[machine.name] <= 1)

    def notify(self) -> None:
        """Wake those that wait, since a machine can be used or a pool was closed."""
        with self._lock:
            self._serve()
            for waiter in self._waiting:
                waiter.is_woken.set()

    def states(self) -> list[MachineState]:
        """Return the machines that are there, by name: what they did, and which are set aside and why."""
        now = time.monotonic()
        with self._lock:
            found = sorted(self._machines.values(), key=lambda machine: (machine.name, machine.address))
            return [self._figures.state(machine, self._aside.get(machine.address), now) for machine in found]

    def faults(self) -> dict[str, int]:
        """Return how often each machine lost a program or could not open a job, by name; none that never did."""
        with self._lock:
            return dict(self._figures.faults)

    def reasons(self) -> str:
        """Return why machines are set aside, as the end of a sentence."""
        with self._lock:
            said = [reason for _, reason in self._aside.values()]
        return f": {'; '.join(said)}" if said else ": it has no machine"


def _digest(program: str) -> str:
    """Return the digest of a program; of none, an empty one."""
    return hashlib.sha256(program.encode()).hexdigest() if program else ""
