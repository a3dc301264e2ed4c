"""States of the machines of a cluster in a night, for people who watch it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from tasks.evaluate.cluster.dask_engine import Machine

_WINDOW_S = 60.0
"""Seconds over which the rate of a machine is taken."""

_MAX_TIMES = 100_000


@dataclass(frozen=True)
class MachineState:
    """A machine that is there.

    Attributes:
        name: Its name.
        slots: Programs that it evaluates at the same time.
        programs: Number of its verdicts.
        per_minute: Verdicts in the last minute.
        faults: How often it lost a program or could not open a job.
        aside_s: Seconds for which it is set aside from now on; `None` if it is not.
        reason: Reason why it is set aside; else empty.
    """

    name: str
    slots: int
    programs: int = 0
    per_minute: float = 0.0
    faults: int = 0
    aside_s: float | None = None
    reason: str = ""


@dataclass
class MachineFigures:
    """Counters of machines by name. Whoever changes them holds a lock.

    Attributes:
        programs: Number of verdicts.
        faults: How often a program was lost or a job could not be opened.
    """

    programs: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    _times: defaultdict[str, deque[float]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_MAX_TIMES))
    )
    _begin: float = field(default_factory=time.monotonic)

    def note_answer(self, name: str) -> None:
        """Count a verdict of a machine."""
        self.programs[name] += 1
        self._times[name].append(time.monotonic())

    def note_fault(self, name: str) -> None:
        """Count a fault of a machine."""
        self.faults[name] += 1

    def state(self, machine: Machine, aside: tuple[float, str] | None, now: float) -> MachineState:
        """Return the state of a machine.

        Args:
            machine: The machine.
            aside: Until when it is set aside, and its name with the reason; `None` if it is not.
            now: The time, as `time.monotonic` has it.
        """
        until, reason = aside or (now, "")
        return MachineState(
            machine.name,
            machine.slots,
            self.programs[machine.name],
            self._per_minute(machine.name, now),
            self.faults[machine.name],
            max(0.0, until - now) if aside else None,
            reason.removeprefix(f"{machine.name}: "),
        )

    def _per_minute(self, name: str, now: float) -> float:
        times = self._times[name]
        while times and now - times[0] > _WINDOW_S:
            times.popleft()
        span = min(_WINDOW_S, now - self._begin)
        return 60.0 * len(times) / span if span > 0 else 0.0
