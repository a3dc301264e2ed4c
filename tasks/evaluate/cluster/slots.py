"""The slots of a cluster: which are free, and which machines are set aside since they lost programs."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from overnight.tasks.evaluate.cluster.dask_client import Machine

_NO_MACHINE_S = 60.0
"""Seconds without a machine that can be used, after which the sandbox is unavailable."""

_ASIDE_S = 10.0
"""Seconds for which a machine is set aside."""

_SHORT_S = 0.5
"""Seconds below which programs are so short that a slot would often wait for the next one."""

_WEIGHT = 0.1
"""Weight of a program in the moving average of seconds."""

_WAIT_S = 2.0
"""Seconds after which whoever waits for a slot looks at the time again."""

_REMEMBERED = 10_000
"""Programs of which the machine that evaluated them is remembered."""

_WINDOW_S, _MAX_TIMES = 60.0, 100_000
"""Seconds over which the rate of a machine is taken, and verdicts that count at most."""


@dataclass(frozen=True)
class MachineState:
    """A machine that is there, for people who watch a night.

    Attributes:
        slots: Programs that it evaluates at the same time.
        per_minute: Verdicts in the last minute.
        faults: Programs that it lost and jobs that it could not open.
        aside_s: Seconds for which it is set aside from now on; `None` if it is not.
    """

    name: str
    slots: int
    programs: int = 0
    per_minute: float = 0.0
    faults: int = 0
    aside_s: float | None = None
    reason: str = ""


@dataclass
class _Figures:
    """Figures of the machines of one name.

    Attributes:
        faults: Programs that were lost and jobs that could not be opened.
        losses: Times that it was set aside since its last verdict.
        times: Times of its last verdicts.
    """

    programs: int = 0
    faults: int = 0
    losses: int = 0
    times: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_TIMES))


@dataclass(eq=False)
class _Waiter:
    """A thread that waits for a slot.

    Attributes:
        confirmed: Digest of the program that is confirmed; empty if none is.
        is_woken: Whether it is to look again, or was given a slot.
    """

    may_take: Callable[[Machine], bool]
    confirmed: str
    machine: Machine | None = None
    is_woken: threading.Event = field(default_factory=threading.Event)


class ClusterSlots:
    """Free slots of the machines, shared by all pools of a run.

    It waits for a machine for `no_machine_s` while there is none, and sets one aside for `aside_s` after a loss.
    """

    def __init__(self, no_machine_s: float = _NO_MACHINE_S, aside_s: float = _ASIDE_S) -> None:
        self._no_machine_s, self._aside_s = no_machine_s, aside_s
        self._machines: dict[str, Machine] = {}
        self._used = Counter[str]()
        self._waiting: dict[_Waiter, None] = {}
        self._aside: dict[str, tuple[float, str]] = {}
        self._figures: defaultdict[str, _Figures] = defaultdict(_Figures)
        self._judged_by: OrderedDict[str, str] = OrderedDict()
        self._typical_s = _SHORT_S
        self._begin = time.monotonic()
        self._alone: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def update(self, machines: Mapping[str, Machine]) -> None:
        """Take notice of who is there, and of whose time aside is over."""
        now = time.monotonic()
        with self._lock:
            self._machines = dict(machines)
            self._aside = {address: aside for address, aside in self._aside.items() if aside[0] > now}
            self._serve()

    def is_usable(self, machine: Machine) -> bool:
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
        """Do not use a machine for a while; return false if it left, is set aside already, or was just before."""
        with self._lock:
            figures = self._figures[machine.name]
            figures.faults += 1
            if machine.address in self._aside or machine.address not in self._machines:
                return False
            figures.losses += 1
            self._aside[machine.address] = time.monotonic() + self._aside_s, reason
            return figures.losses == 1

    def note_answer(self, machine: Machine, wall_s: float, program: str = "") -> None:
        """Note that a machine gave a verdict, and of which program, if another machine is to confirm it."""
        with self._lock:
            self._typical_s += _WEIGHT * (wall_s - self._typical_s)
            figures = self._figures[machine.name]
            figures.programs, figures.losses = figures.programs + 1, 0
            figures.times.append(time.monotonic())
            if program:
                self._judged_by[_digest(program)] = machine.name
            while len(self._judged_by) > _REMEMBERED:
                self._judged_by.popitem(last=False)

    def take(
        self, may_take: Callable[[Machine], bool], is_closed: Callable[[], bool], confirmed: str = ""
    ) -> Machine | None:
        """Wait for a free slot and take it; return its machine, or `None` if there is no machine for a while.

        The machine with the largest share of free slots comes first, of those that may be taken. A program that is
        confirmed goes to another machine than the one that evaluated it, where there are several. Once `is_closed`
        returns true, which is asked again after `notify`, it waits no longer.
        """
        waiter, until = _Waiter(may_take, _digest(confirmed)), time.monotonic() + self._no_machine_s
        while True:
            with self._lock:
                usable = self._usable(waiter)
                if waiter.machine is None and not is_closed():
                    waiter.machine = self._taken_of(usable)
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
            if not self._free(self._machines.values()):
                return
            if chosen := self._taken_of(self._usable(waiter)):
                waiter.machine = chosen
                del self._waiting[waiter]
                waiter.is_woken.set()

    def release(self, machine: Machine) -> None:
        with self._lock:
            self._used[machine.address] -= 1
            self._serve()

    def _taken_of(self, machines: list[Machine]) -> Machine | None:
        free = self._free(machines)
        if not free:
            return None
        chosen = min(free, key=lambda machine: self._used[machine.address] / machine.slots)
        self._used[chosen.address] += 1
        return chosen

    def _free(self, machines: Iterable[Machine]) -> list[Machine]:
        return [machine for machine in machines if self._used[machine.address] < self._room(machine)]

    def _room(self, machine: Machine) -> int:
        """Return how many programs a machine may have at a time: of short ones some more, which wait there."""
        ahead = 1 + machine.slots // 4 if self._typical_s < _SHORT_S else 0
        return machine.slots + ahead

    def _usable(self, waiter: _Waiter) -> list[Machine]:
        """Return the machines that may run a program, whether they have a free slot or not.

        A confirmation waits for a machine that has not opened its job yet, or was set aside once, rather than be with
        the one that claims.
        """
        first = self._judged_by.get(waiter.confirmed)
        others = [
            one
            for one in self._machines.values()
            if one.name != first and (one.address not in self._aside or self._figures[one.name].losses <= 1)
        ]
        there = others or self._machines.values()
        return [machine for machine in there if machine.address not in self._aside and waiter.may_take(machine)]

    def notify(self) -> None:
        """Wake those that wait, since a machine can be used or a pool was closed."""
        with self._lock:
            self._serve()
            for waiter in self._waiting:
                waiter.is_woken.set()

    def states(self) -> list[MachineState]:
        """Return the machines that are there, by name: what they did, and which are set aside and why."""
        with self._lock:
            found = sorted(self._machines.values(), key=lambda machine: (machine.name, machine.address))
            return [self._state(machine, time.monotonic()) for machine in found]

    def _state(self, machine: Machine, now: float) -> MachineState:
        figures, aside = self._figures[machine.name], self._aside.get(machine.address)
        span, times = min(_WINDOW_S, now - self._begin), figures.times
        while times and now - times[0] > _WINDOW_S:
            times.popleft()
        return MachineState(
            machine.name,
            machine.slots,
            figures.programs,
            60.0 * len(times) / span if span > 0 else 0.0,
            figures.faults,
            max(0.0, aside[0] - now) if aside else None,
            aside[1] if aside else "",
        )

    def faults(self) -> dict[str, int]:
        """Return how often each machine lost a program or could not open a job, by name; none that never did."""
        with self._lock:
            return {name: figures.faults for name, figures in self._figures.items() if figures.faults}

    def reasons(self) -> str:
        """Return why machines are set aside, as the end of a sentence."""
        with self._lock:
            said = [
                f"{machine.name}: {self._aside[address][1]}"
                for address, machine in self._machines.items()
                if address in self._aside
            ]
        return f": {'; '.join(said)}" if said else ": it has no machine"


def _digest(program: str) -> str:
    """Return the digest of a program; of none, an empty one."""
    return hashlib.sha256(program.encode()).hexdigest() if program else ""
