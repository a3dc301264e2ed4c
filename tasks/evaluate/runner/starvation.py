"""Measure how long other programs kept a candidate from running; its deadline does not count these seconds.

The kernel counts for each thread how long it ran and how long it was ready to run but waited for a processor. A thread
that sleeps, or waits for another thread, does not wait for a processor. Three rules keep a candidate from gaining time
by this:

- Time in which the candidate's other threads ran is subtracted from a thread's waiting time: threads that compete with
  each other wait for each other.
- Time in which the candidate ran does not count as starved. So the processor time that it gets for an input never
  exceeds the limit, and the rest of an extension is time in which it computed nothing.
- The candidate's running time is taken from its control group, if there is one, because a process that starts and ends
  between two samples is never seen. Time that threads waited before the phase began does not count.

If the kernel shows no such counters (gVisor), only pauses of the whole container are known.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from . import processes

_NANOSECOND = 1e-9


class Counters(NamedTuple):
    """The kernel's counters of one thread.

    Attributes:
        ran_s: Seconds that the thread ran.
        waited_s: Seconds that it was ready but did not run, up to the last time it got a processor.
        turns: Number of times that it got a processor.
    """

    ran_s: float
    waited_s: float
    turns: int


class ThreadSample(NamedTuple):
    """State of one thread at one moment.

    Attributes:
        counters: The kernel's counters of the thread.
        is_ready: Whether the thread runs or waits for a processor.
        began: Start time of the thread, seconds of the monotonic clock.
    """

    counters: Counters
    is_ready: bool
    began: float = math.inf


_ZERO = Counters(0.0, 0.0, 0)

_CLOCK_TOLERANCE_S = 0.05
"""Maximum error of a thread's start time, seconds: the kernel reports it in hundredths."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_START_FIELD = 19
"""Index of a thread's start time (ticks since boot) among the fields of `stat` after the name."""


@dataclass
class _Thread:
    """Measurements of one thread in the current phase.

    Attributes:
        first: Counters at the start of the phase, or of the thread if that is later; counters of the first sample for a
            thread that is older than the phase but was not known at its start.
        total_before: Seconds that all threads had run by that time.
        last: Counters at the last sample.
        ready_since: Time since which the thread has been ready with unchanged counters, that is, waiting; None if it is
            not.
        waiting_s: Seconds since `ready_since`.
        others_ran_s: Seconds that other threads ran during this thread's time.
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

    def starved_s(self, maximum_s: float) -> float:
        """Return the seconds it waited, at most `maximum_s`, less those in which the candidate's other threads ran."""
        waited = self.last.waited_s - self.first.waited_s + self.waiting_s
        return max(0.0, min(waited, maximum_s) - self.others_ran_s)


class Starvation:
    """Counter of the starved seconds in one phase of a candidate: its loading, or one input.

    Args:
        take_sample: Returns the current state of each of its threads, by id.
        read_cpu_s: Returns the processor time of all its processes so far, including ended ones, seconds; less than the
        sum over the sampled threads if no control group counts it. The larger of the two is used.

    Attributes:
        has_sampled: Whether a sample was taken in this phase; it takes two samples to see that a thread is waiting.
    """

    def __init__(
        self, take_sample: Callable[[], dict[int, ThreadSample]], read_cpu_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._take_sample = take_sample
        self._read_cpu_s = read_cpu_s
        self._cpu_s_before, self._cpu_s = 0.0, 0.0
        self._threads: dict[int, _Thread] = {}
        self._began = 0.0
        self._paused_s = 0.0
        self.has_sampled = False

    def begin_phase(self, now: float, counters: dict[int, Counters]) -> None:
        """Begin a phase.

        Args:
            now: Current time, seconds of the monotonic clock.
            counters: Known counters of the threads that exist at the start of the phase, by id.
        """
        self._threads = {thread: _Thread(first, 0.0, first) for thread, first in counters.items()}
        self._began = now
        self._paused_s = 0.0
        self._cpu_s_before, self._cpu_s = self._read_cpu_s(), 0.0
        self.has_sampled = False

    def add_pause(self, seconds: float) -> None:
        """Add seconds in which no process here ran at all, because the container or the whole machine was paused."""
        self._paused_s += seconds

    def observe(self, now: float) -> None:
        """Sample all threads. Ended threads count with their last sample."""
        seen = self._take_sample()
        total_before = self._ran_s()
        for number, sample in seen.items():
            thread = self._threads.setdefault(number, self._new_thread(sample, total_before))
            has_changed = sample.counters != thread.last
            if not sample.is_ready or has_changed or thread.ready_since is None:
                thread.ready_since = now if sample.is_ready else None
            thread.waiting_s = 0.0 if thread.ready_since is None else now - thread.ready_since
            thread.last = sample.counters
        self._cpu_s = self._read_cpu_s() - self._cpu_s_before
        total = self._ran_s()
        for number in seen:
            thread = self._threads[number]
            thread.others_ran_s = max(0.0, total - thread.total_before - thread.ran_s)
        self.has_sampled = True

    def seconds(self, now: float) -> float:
        """Return the starved seconds of the phase up to now."""
        elapsed = now - self._began
        waited = sum(thread.starved_s(elapsed) for thread in self._threads.values())
        return max(0.0, min(waited + self._paused_s, elapsed - self._ran_s()))

    def _new_thread(self, sample: ThreadSample, total_before: float) -> _Thread:
        first = sample.counters if sample.began < self._began - _CLOCK_TOLERANCE_S else _ZERO
        return _Thread(first, total_before, first)

    def _ran_s(self) -> float:
        return max(self._cpu_s, sum(thread.ran_s for thread in self._threads.values()))


def read_counters(descriptor: int) -> Counters:
    """Read a thread's `schedstat` from the start of the file.

    Raises:
        OSError: If the thread has ended.
        ValueError: If this kernel uses another format.
    """
    ran, waited, turns = os.pread(descriptor, 100, 0).split()
    return Counters(int(ran) * _NANOSECOND, int(waited) * _NANOSECOND, int(turns))


def open_counters(process: int) -> int | None:
    """Open the `schedstat` of a process's first thread; return None if the kernel has no such file."""
    try:
        return os.open(f"/proc/{process}/schedstat", os.O_RDONLY)
    except OSError:
        return None


def sample_threads(main: Sequence[int]) -> dict[int, ThreadSample]:
    """Return the current state of every thread of a candidate, by id.

    Args:
        main: The candidate's first processes. In a container all processes but the runner's own belong to the
            candidate; outside a container, these and their descendants do.
    """
    found = {}
    for process in _other_processes() if processes.IN_CONTAINER else _with_descendants(main):
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with suppress(OSError, ValueError, IndexError):
                    found[int(thread)] = _sample_thread(f"/proc/{process}/task/{thread}")
    return found


def _sample_thread(folder: str) -> ThreadSample:
    with open(f"{folder}/schedstat", "rb", buffering=0) as file:
        counters = read_counters(file.fileno())
    with open(f"{folder}/stat", "rb", buffering=0) as file:
        # The fields follow the name, which may contain anything.
        fields = file.read(1000).rpartition(b")")[2].split()
    slept_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return ThreadSample(counters, fields[0] == b"R", int(fields[_START_FIELD]) / _TICKS_PER_S - slept_s)


def _other_processes() -> Iterator[int]:
    own = {1, os.getpid()}
    return (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in own)


def _with_descendants(pids: Iterable[int]) -> Iterator[int]:
    for process in pids:
        yield process
        with suppress(OSError), open(f"/proc/{process}/task/{process}/children") as file:
            yield from _with_descendants(map(int, file.read().split()))
