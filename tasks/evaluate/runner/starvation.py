"""How long a candidate was kept from running by others: seconds that its deadline does not count.

The kernel counts for each thread how long it ran and how long it was ready to run and waited for a processor. A thread
that sleeps, or waits for another, waits for no processor. Two things keep a candidate from buying time with it:

- What its other threads ran while one waited is taken off: threads that fight each other wait for each other.
- Time in which it ran does not count as starved. So whatever it does, the processor time that it gets for an input is
  never more than the limit, and the rest of an extension is time in which it computed nothing.
- What it ran is what its control group counted, where there is one: a process that begins and ends between two looks is
  never seen. What threads waited before the phase began is no part of it.

Where the kernel shows no such counters (gVisor), only pauses are known.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from . import reap

_NANOSECOND = 1e-9


class Counters(NamedTuple):
    """What the kernel has counted for one thread.

    Attributes:
        ran_s: Seconds that it ran.
        waited_s: Seconds that it was ready to run and did not, up to the last time it got a processor.
        turns: Times that it got a processor.
    """

    ran_s: float
    waited_s: float
    turns: int


class Look(NamedTuple):
    """One thread at one moment.

    Attributes:
        counters: The kernel's.
        is_ready: Whether it runs or waits for a processor.
        began: When it began, seconds of the monotonic clock.
    """

    counters: Counters
    is_ready: bool
    began: float = math.inf


_NOTHING = Counters(0.0, 0.0, 0)

_SLACK_S = 0.05
"""Seconds by which the begin of a thread may be wrong: the kernel tells it in hundredths."""

_TICKS = os.sysconf("SC_CLK_TCK")
_BEGAN = 19
"""Place of a thread's begin, in ticks since the machine's, among the fields of `stat` after the name."""


@dataclass
class _Thread:
    """What is known of one thread in this phase.

    Attributes:
        first: Its counters when the phase began, or when it began itself; of one that is older and was not known then,
            those of the first look.
        total_before: Seconds that all threads had run by then.
        last: Its counters at the last look.
        ready_since: The look since which it has been ready without its counters having changed: it waits; None if not.
        waiting_s: Seconds since then.
        others_ran_s: Seconds that other threads ran in its time.
    """

    first: Counters
    total_before: float
    last: Counters
    ready_since: float | None = None
    waiting_s: float = 0.0
    others_ran_s: float = 0.0

    @property
    def ran_s(self) -> float:
        return self.last.ran_s - self.first.ran_s

    def starved_s(self, most: float) -> float:
        """Return the seconds it waited for processors that were not its siblings', at most so many."""
        waited = self.last.waited_s - self.first.waited_s + self.waiting_s
        return max(0.0, min(waited, most) - self.others_ran_s)


class Starvation:
    """Counts the starved seconds of one phase of a candidate: its loading, or one input.

    Args:
        look: Gives what is seen of each of its threads now, by id.
        count_ran: Gives the seconds of processor time of all its processes so far, those that have ended included; less
            than what is seen where nobody counts it.

    Attributes:
        has_looked: Whether it has looked in this phase: a thread that waits only shows by two looks.
    """

    def __init__(self, look: Callable[[], dict[int, Look]], count_ran: Callable[[], float] = lambda: 0.0) -> None:
        self._look = look
        self._count_ran = count_ran
        self._counted_before, self._counted_s = 0.0, 0.0
        self._threads: dict[int, _Thread] = {}
        self._began = 0.0
        self._paused_s = 0.0
        self.has_looked = False

    def begin(self, now: float, counters: dict[int, Counters]) -> None:
        """Begins a phase.

        Args:
            now: Seconds of the monotonic clock.
            counters: Of the threads that it has begun with, as far as they are known.
        """
        self._threads = {thread: _Thread(first, 0.0, first) for thread, first in counters.items()}
        self._began = now
        self._paused_s = 0.0
        self._counted_before, self._counted_s = self._count_ran(), 0.0
        self.has_looked = False

    def add_pause(self, seconds: float) -> None:
        """Counts seconds in which nothing here ran at all: the container was paused, or the whole machine."""
        self._paused_s += seconds

    def observe(self, now: float) -> None:
        """Looks at all threads. Those that have ended count with what was last seen of them."""
        seen = self._look()
        total_before = self._ran_s()
        for number, look in seen.items():
            thread = self._threads.setdefault(number, self._new(look, total_before))
            has_moved = look.counters != thread.last
            if not look.is_ready or has_moved or thread.ready_since is None:
                thread.ready_since = now if look.is_ready else None
            thread.waiting_s = 0.0 if thread.ready_since is None else now - thread.ready_since
            thread.last = look.counters
        self._counted_s = self._count_ran() - self._counted_before
        total = self._ran_s()
        for number in seen:
            thread = self._threads[number]
            thread.others_ran_s = max(0.0, total - thread.total_before - thread.ran_s)
        self.has_looked = True

    def seconds(self, now: float) -> float:
        """Return the starved seconds of the phase up to now."""
        elapsed = now - self._began
        waited = sum(thread.starved_s(elapsed) for thread in self._threads.values())
        return max(0.0, min(waited + self._paused_s, elapsed - self._ran_s()))

    def _new(self, look: Look, total_before: float) -> _Thread:
        first = look.counters if look.began < self._began - _SLACK_S else _NOTHING
        return _Thread(first, total_before, first)

    def _ran_s(self) -> float:
        return max(self._counted_s, sum(thread.ran_s for thread in self._threads.values()))


def read_counters(descriptor: int) -> Counters:
    """Read a thread's `schedstat`, from the file's start.

    Raises:
        OSError: If the thread has ended.
        ValueError: If this kernel writes something else there.
    """
    ran, waited, turns = os.pread(descriptor, 100, 0).split()
    return Counters(int(ran) * _NANOSECOND, int(waited) * _NANOSECOND, int(turns))


def open_counters(process: int) -> int | None:
    """Open the `schedstat` of a process's first thread; None where the kernel has no such file."""
    try:
        return os.open(f"/proc/{process}/schedstat", os.O_RDONLY)
    except OSError:
        return None


def look_at_all(main: Sequence[int]) -> dict[int, Look]:
    """Return what is seen of every thread of a candidate.

    Args:
        main: Its first processes. In a container all processes but the runner's own are the candidate's; outside of
            one, those below these.
    """
    found = {}
    for process in _others() if reap.ALONE else _with_descendants(main):
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with suppress(OSError, ValueError, IndexError):
                    found[int(thread)] = _look_at(f"/proc/{process}/task/{thread}")
    return found


def _look_at(place: str) -> Look:
    with open(f"{place}/schedstat", "rb", buffering=0) as file:
        counters = read_counters(file.fileno())
    with open(f"{place}/stat", "rb", buffering=0) as file:
        # After the name, in which anything may stand.
        fields = file.read(1000).rpartition(b")")[2].split()
    slept_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return Look(counters, fields[0] == b"R", int(fields[_BEGAN]) / _TICKS - slept_s)


def _others() -> Iterator[int]:
    own = {1, os.getpid()}
    return (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in own)


def _with_descendants(processes: Iterable[int]) -> Iterator[int]:
    for process in processes:
        yield process
        with suppress(OSError), open(f"/proc/{process}/task/{process}/children") as file:
            yield from _with_descendants(map(int, file.read().split()))
