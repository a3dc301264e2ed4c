"""What the runner sees of one child: its two pipes, its clock, and the host's end of standard input."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from . import cgroup, reap, starvation
from .bounded_buffer import BoundedBuffer

_TICK_S = 0.05
"""Seconds between looks at whether the child is alive, while its report is not closed: the kernel may not tell."""

_LAST_TICK_S = 0.001
"""The same once it is: the child is exiting."""

_ARMING_S = 60.0
"""Seconds a child has to read its program and lock itself down; it runs none of it before."""

_LEAVING_S = 5.0
"""Seconds a child has to exit after its last line."""


_PAUSE_S = 1.0
"""Seconds that this process wakes too late which are a pause of all, and no mere wait for a processor."""

_LOOK_SHARE = 20
"""A look at all threads is not taken again before so many times what it took."""

_MOST_TIMES, _MOST_S = 9, 60.0
"""A deadline is put off by at most so many times its limit and so many seconds more. Whoever has not had its time by
then is not judged."""

_WORD_S = 5.0
"""Seconds of putting off after which the host is told that there is still somebody here."""


class HostGone(Exception):
    """Standard input has closed: nobody waits for this candidate any more."""


@dataclass(frozen=True)
class ChildLimits:
    """What one candidate may take.

    Attributes:
        wall_s: Seconds for loading the program, and again for each input.
        inputs: Number of inputs.
        output_bytes: What it may print.
        results_bytes: What it may report.
    """

    wall_s: float
    inputs: int
    output_bytes: int
    results_bytes: int


class Supervisor:
    """Follows one child until it ends or breaks a bound.

    Attributes:
        broken: The bound that it broke: `wall`, `output`, `results`; `starved` where others kept it from running until
            nobody could wait any longer; empty if none.
        starved_s: Seconds that it was kept from running in the phase in which it ended.
        results: What it reported, no more than its bound.
        output: What it printed, no more than its bound.
        marks: When each line of its report arrived, seconds of the monotonic clock.
    """

    def __init__(
        self,
        child: int,
        results_end: int,
        output_end: int,
        bounds: ChildLimits,
        *,
        beside: Sequence[int] = (),
        count_ran: Callable[[], float] = lambda: 0.0,
        tell_host: Callable[[], object] = lambda: None,
    ) -> None:
        self.broken = ""
        self.starved_s = 0.0
        self.results = BoundedBuffer(bounds.results_bytes)
        self.output = BoundedBuffer(bounds.output_bytes)
        self.marks: list[float] = []
        self._child = child
        self._results_end = results_end
        self._bounds = bounds
        self._open = {results_end, output_end}
        self._poll = select.poll()
        self._began, self._limit_s, self._deadline = 0.0, 0.0, 0.0
        main = (child, *beside)
        self._starvation = starvation.Starvation(lambda: starvation.look_at_all(main), count_ran)
        self._counters = {pid: file for pid in main if (file := starvation.open_counters(pid)) is not None}
        self._next_look, self._last_word = 0.0, 0.0
        self._tell_host = tell_host
        for end in self._open:
            os.set_blocking(end, False)
            self._poll.register(end, select.POLLIN)
        self._exit = _exit_of(child)
        if self._exit is not None:
            self._poll.register(self._exit, select.POLLIN)

    def until_end(self) -> None:
        """Returns when the child has exited or has broken a bound and must be killed.

        Raises:
            HostGone: If standard input closed.
        """
        self._begin_phase(time.monotonic(), _ARMING_S)
        while not self.broken and not self._has_exited():
            tick_s = _TICK_S if self._results_end in self._open else _LAST_TICK_S
            began = time.monotonic()
            patience_s = min(tick_s, max(0.0, self._deadline - began))
            # Rounded up: a poll of 0 ms would spin until the deadline.
            ready = self._poll.poll(1 + int(patience_s * 1000))
            now = time.monotonic()
            if now - began - patience_s > _PAUSE_S:
                self._starvation.add_pause(now - began - patience_s)
            for descriptor, _ in ready:
                if descriptor == 0:
                    # Nothing is ever sent during an evaluation, so this is the end of the stream.
                    raise HostGone
                if descriptor in self._open:
                    self._take(descriptor)
            if not ready:
                self._observe(now)
            if now > self._deadline and not self.broken:
                self._put_off(now)

    def drain(self) -> None:
        """Takes what is still in the pipes, once nobody is left who could write, and closes them.

        Never waits: the kernel may hold an end of a pipe that no process has any more.
        """
        for end in tuple(self._open):
            while self._take(end):
                continue
            if end in self._open:
                self._close(end)
        if self._exit is not None:
            os.close(self._exit)
        for file in self._counters.values():
            os.close(file)

    def early_end(self) -> str:
        """Why it did not even come to its program, in words."""
        return f"a child failed before its candidate ran: {bytes(self.results.view()).decode(errors='replace')}"

    def _has_exited(self) -> bool:
        """Looks without reaping: as long as it is not reaped, its process id is nobody else's."""
        return os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _take(self, end: int) -> bool:
        """Takes what is there; whether there may be more."""
        kept, bound = (self.results, "results") if end == self._results_end else (self.output, "output")
        before = kept.length
        try:
            taken = kept.take(end)
        except BlockingIOError:
            return False
        if not taken:
            self._close(end)
            return False
        if kept.is_over:
            self._break(bound)
        # After a deadline it is being killed, and of two processes one may still tell of the other's end.
        if kept is self.results and self.broken not in ("wall", "starved"):
            self._count_lines(before)
        return True

    def _close(self, end: int) -> None:
        self._poll.unregister(end)
        self._open.discard(end)
        os.close(end)

    def _count_lines(self, before: int) -> None:
        # One line for the lock-down, one for loading, one for each input; what comes after buys no time.
        expected = self._bounds.inputs + 2
        for _ in range(min(self.results.count_lines(before), expected - len(self.marks))):
            self._next_phase(last=len(self.marks) + 1 == expected)

    def _next_phase(self, *, last: bool) -> None:
        now = time.monotonic()
        if not self.marks:
            # The program is read: from here on, standard input is the runner's again.
            self._poll.register(0, select.POLLIN)
        self.marks.append(now)
        self._begin_phase(now, _LEAVING_S if last else self._bounds.wall_s)

    def _begin_phase(self, now: float, limit_s: float) -> None:
        self._began, self._limit_s, self._deadline = now, limit_s, now + limit_s
        counters = {}
        for pid, file in self._counters.items():
            with suppress(OSError, ValueError):
                counters[pid] = starvation.read_counters(file)
        self._starvation.begin(now, counters)

    def _observe(self, now: float) -> None:
        if now < self._next_look:
            return
        self._starvation.observe(now)
        self._next_look = now + _LOOK_SHARE * (time.monotonic() - now)

    def _put_off(self, now: float) -> None:
        """Moves a deadline that has passed by the time that the child was kept from running, or ends its phase."""
        is_first = not self._starvation.has_looked
        self._starvation.observe(now)
        self.starved_s = self._starvation.seconds(now)
        # Whether it waits at this moment shows at the next look.
        deadline = self._began + self._limit_s + self.starved_s + (_TICK_S if is_first else 0.0)
        if deadline <= now:
            self._break("wall")
        elif self.starved_s > _MOST_TIMES * self._limit_s + _MOST_S:
            self._break("starved")
        else:
            self._deadline = deadline
            if now - self._last_word > _WORD_S:
                self._last_word = now
                self._tell_host()

    def _break(self, bound: str) -> None:
        self.broken = self.broken or bound


def _exit_of(child: int) -> int | None:
    """A descriptor that can be read once the child has exited; None where the kernel or this Python has no such."""
    try:
        return os.pidfd_open(child)
    except (OSError, AttributeError):
        return None


def header(
    number: int, seen: Supervisor, usage: reap.Usage, counts: cgroup.CgroupCounters, child: int, ended: float
) -> dict[str, Any]:
    """What the runner saw with its own eyes; nothing in it is the candidate's word, but when a line came.

    Args:
        number: Of the request.
        seen: The watch over the child.
        usage: Of all its processes that were waited for.
        counts: What the kernel counted meanwhile.
        child: Its process id.
        ended: When it did, seconds of the monotonic clock.
    """
    spent = [after - before for before, after in zip(seen.marks, seen.marks[1:], strict=False)]
    return {
        "number": number,
        "broken": seen.broken,
        "status": usage.statuses[child],
        "wall_s": ended - seen.marks[0] if seen.marks else 0.0,
        # A process whose parent ignores its end is waited for by nobody, and in no usage.
        "cpu_s": max(usage.cpu_s, counts.cpu_s),
        "peak_mib": usage.peak_mib,
        # The first is the time of loading.
        "input_wall_s": spent[1:],
        "loaded": bool(spent),
        "memory_kills": counts.memory_kills,
        "starved_s": seen.starved_s,
    }
