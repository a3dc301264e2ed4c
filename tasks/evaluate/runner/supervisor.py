"""Supervise one child: read its two pipes, enforce its deadlines, and watch for the end of standard input."""

from __future__ import annotations

import itertools
import mmap
import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from . import asking, frames, processes, starvation

_TICK_S = 0.05
"""Seconds between checks whether the child is alive while its report is open, as the kernel may not notify us."""

_TICK_SHARE, _MAX_TICK_S = 0.1, 1.0
"""The same as a share of the time that the input took so far, and at most, where the kernel does notify us: each check
looks at all threads, and with hundreds of long candidates the checks would take the processors."""

_LAST_TICK_S = 0.001
"""The same after the report was closed, when the child is exiting."""

_PREPARATION_S = 60.0
"""Seconds a child has to lock itself down and read its program, before it runs any of it."""

_EXIT_S = 5.0
"""Seconds a child has to exit after the last line of its report."""

_MIN_PAUSE_S = 1.0
"""Minimum delay of this process's wake-up that counts as a pause of the container, not as a wait for a processor,
seconds."""

_SAMPLE_COST_FACTOR = 20
"""Minimum time between two samples of all threads, as a multiple of the time that a sample takes."""

_MAX_EXTENSION_FACTOR, _MAX_EXTENSION_S = 9, 60.0
"""Maximum extension of a deadline: so many times the limit, plus so many seconds. A candidate that has not had its time
by then is not judged."""

_HEARTBEAT_S = 5.0
"""Minimum seconds between heartbeats to the host while a deadline is being extended."""


_QUESTION_S = 5.0
"""Seconds in which the scoring has to write the rest of a question, or to read the answer."""


class HostGone(Exception):
    """Standard input was closed, so the host no longer waits for this candidate."""


class BoundedBuffer:
    """Buffer of the first bytes read from a pipe, in memory that no later child inherits.

    Ordinary memory would keep the data after use, and every later candidate could find it there.

    Attributes:
        length: Number of bytes stored; one more than the bound if the pipe had more.
    """

    def __init__(self, bound: int) -> None:
        self.length = 0
        self._bound = bound
        self._memory = mmap.mmap(-1, bound + 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory.madvise(mmap.MADV_DONTFORK)

    @property
    def is_over(self) -> bool:
        return self.length > self._bound

    def take(self, descriptor: int) -> int:
        """Read the available bytes that fit; return their number, 0 at the end of the pipe or if the buffer is full."""
        with memoryview(self._memory) as whole, whole[self.length :] as rest:
            taken = os.readv(descriptor, [rest])
        self.length += taken
        return taken

    def count_lines(self, since: int) -> int:
        """Return the number of line ends stored from offset `since` on."""
        count, position = 0, since
        while (position := self._memory.find(b"\n", position, self.length) + 1) > 0:
            count += 1
        return count

    def view(self) -> memoryview:
        """Return the stored bytes within the bound, without a copy."""
        return memoryview(self._memory)[: min(self.length, self._bound)]


@dataclass(frozen=True)
class ChildLimits:
    """Limits of one candidate.

    Attributes:
        wall_s: Seconds for loading the program, and the same again for each input.
        inputs: Number of inputs.
        output_bytes: Maximum size of its output, bytes.
        results_bytes: Maximum size of its report, bytes.
    """

    wall_s: float
    inputs: int
    output_bytes: int
    results_bytes: int


@dataclass(frozen=True)
class Questions:
    """How questions of a scoring reach the host.

    Attributes:
        asked: The reading end of the pipe for questions.
        told: The writing end of the pipe for answers.
        exchange: Returns the host's reply to a question; it raises HostGone, or ValueError if that is none.
    """

    asked: int
    told: int
    exchange: Callable[[bytes], bytes]


class Supervisor:
    """Supervisor of one child until it exits or breaks a limit.

    Args:
        children: Process id of the child, then those of other processes that belong to its candidate.
        results_end: The reading end of the pipe for its report.
        output_end: The reading end of the pipe for its output.
        limits: Its limits.
        cgroup: Reader of the container's counters.
        send_heartbeat: Tells the host that a deadline is being extended.
        questions: How the scoring asks a model; None if it may not.

    Attributes:
        broken, starved_s: As in the header, see `verdicts.Header`.
        results: The child's report, up to its limit.
        output: The child's output, up to its limit.
        line_times: Arrival time of each line of the report, seconds of the monotonic clock less those of questions.
    """

    def __init__(
        self,
        children: Sequence[int],
        results_end: int,
        output_end: int,
        limits: ChildLimits,
        cgroup: processes.Cgroup,
        send_heartbeat: Callable[[], object],
        questions: Questions | None = None,
    ) -> None:
        self.broken = ""
        self.starved_s = 0.0
        self.results = BoundedBuffer(limits.results_bytes)
        self.output = BoundedBuffer(limits.output_bytes)
        self.line_times: list[float] = []
        self._children = children
        self._results_end = results_end
        self._limits = limits
        self._cgroup = cgroup
        self._open = {results_end, output_end}
        self._poll = select.poll()
        self._began, self._limit_s, self._deadline = 0.0, 0.0, 0.0
        self._starvation = starvation.Starvation(
            lambda: starvation.sample_threads(children), lambda: cgroup.read().cpu_s
        )
        self._counters = {pid: file for pid in children if (file := starvation.open_counters(pid)) is not None}
        self._next_sample, self._last_heartbeat = 0.0, 0.0
        self._send_heartbeat = send_heartbeat
        self._questions, self._asked_s = questions, 0.0
        if questions is not None:
            self._poll.register(questions.asked, select.POLLIN)
        for end in self._open:
            os.set_blocking(end, False)
            self._poll.register(end, select.POLLIN)
        self._exit_descriptor = _open_exit_descriptor(children[0])
        if self._exit_descriptor is not None:
            self._poll.register(self._exit_descriptor, select.POLLIN)

    def run(self, number: int) -> dict[str, Any]:
        """Wait for the child's end and end all its processes; return the header of the answer to a request.

        Args:
            number: Number of the request.

        Raises:
            HostGone: If standard input closed.
            RuntimeError: If the child failed before it ran any code of the candidate.
        """
        before = self._cgroup.read()
        try:
            self._wait()
        finally:
            usage = processes.end_all()
        ended = time.monotonic()
        self.drain()
        counts = self._cgroup.read().since(before)
        # Of two processes, the kernel may kill either when memory runs out; both times it is the candidate's fault.
        if not self.line_times and not (counts.memory_kills and len(self._children) > 1):
            reason = bytes(self.results.view()).decode(errors="replace")
            raise RuntimeError(f"a child failed before its candidate ran: {reason}")
        return self.header(number, usage, counts, ended - self._asked_s)

    def _wait(self) -> None:
        """Wait until the child has exited, or has broken a limit and must be killed."""
        self._begin_phase(time.monotonic(), _PREPARATION_S)
        while not self.broken and not self._has_exited():
            began = time.monotonic()
            timeout_s = min(self._tick_s(began), max(0.0, self._deadline - began))
            # Rounded up, because polls of 0 ms would spin until the deadline.
            ready = self._poll.poll(1 + int(timeout_s * 1000))
            now = time.monotonic()
            if now - began - timeout_s > _MIN_PAUSE_S:
                self._starvation.add_pause(now - began - timeout_s)
            for descriptor, _ in ready:
                if descriptor == 0:
                    # The host sends nothing during an evaluation, so this is the end of the stream.
                    raise HostGone
                if descriptor in self._open:
                    self._read_pipe(descriptor)
                elif self._questions is not None and descriptor == self._questions.asked:
                    self._pass_on_question(self._questions)
            if not ready:
                self._sample_threads(now)
            if now > self._deadline and not self.broken:
                self._extend_deadline(now)

    def _pass_on_question(self, questions: Questions) -> None:
        """Let the host answer a question. Meanwhile nothing else is looked at, and the time does not count."""
        began = time.monotonic()
        try:
            length = frames.read_exactly(questions.asked, frames.LENGTH.size, timeout_s=_QUESTION_S)
            if (size := frames.LENGTH.unpack(length)[0]) > asking.QUESTION_BYTES:
                raise ValueError(f"a question of {size} bytes")
            question = frames.read_exactly(questions.asked, size, timeout_s=_QUESTION_S)
            reply = questions.exchange(question)
        except EOFError:  # the scoring has closed its end
            self._poll.unregister(questions.asked)
            return
        except ValueError:
            self._record_broken("results")
            return
        with suppress(BrokenPipeError):  # it has ended meanwhile
            frames.write_frames(questions.told, [reply], timeout_s=_QUESTION_S)
        spent = time.monotonic() - began
        self._asked_s += spent
        self._began, self._deadline = self._began + spent, self._deadline + spent

    def _tick_s(self, now: float) -> float:
        if self._results_end not in self._open:
            return _LAST_TICK_S
        return tick_s(now - self._began, is_notified=self._exit_descriptor is not None)

    def drain(self) -> None:
        """Read the rest of the pipes, once no process is left that could write, and close them.

        It never waits, because the kernel may hold an end of a pipe that no process has any more.
        """
        for end in tuple(self._open):
            while self._read_pipe(end):
                continue
            if end in self._open:
                self._close(end)
        if self._exit_descriptor is not None:
            os.close(self._exit_descriptor)
        if self._questions is not None:
            os.close(self._questions.asked)
            os.close(self._questions.told)
        for file in self._counters.values():
            os.close(file)

    def _has_exited(self) -> bool:
        """Check without reaping: until it is reaped, its process id is not reused."""
        return os.waitid(os.P_PID, self._children[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _read_pipe(self, end: int) -> bool:
        """Read the available data; return whether there may be more."""
        buffer, limit = (self.results, "results") if end == self._results_end else (self.output, "output")
        before = buffer.length
        try:
            taken = buffer.take(end)
        except BlockingIOError:
            return False
        if not taken:
            self._close(end)
            return False
        if buffer.is_over:
            self._record_broken(limit)
        # After a deadline the processes are being killed, and one of two may still report the other's end.
        if buffer is self.results and self.broken not in ("wall", "starved"):
            self._count_lines(before)
        return True

    def _close(self, end: int) -> None:
        self._poll.unregister(end)
        self._open.discard(end)
        os.close(end)

    def _count_lines(self, before: int) -> None:
        # One line for the lock-down, one for loading, one for each input; further lines give no more time.
        expected = self._limits.inputs + 2
        for _ in range(min(self.results.count_lines(before), expected - len(self.line_times))):
            self._next_phase(last=len(self.line_times) + 1 == expected)

    def _next_phase(self, *, last: bool) -> None:
        now = time.monotonic()
        if not self.line_times:
            # The child has read its program, so the runner reads standard input again.
            self._poll.register(0, select.POLLIN)
        self.line_times.append(now - self._asked_s)
        self._begin_phase(now, _EXIT_S if last else self._limits.wall_s)

    def _begin_phase(self, now: float, limit_s: float) -> None:
        self._began, self._limit_s, self._deadline = now, limit_s, now + limit_s
        counters = {}
        for pid, file in self._counters.items():
            with suppress(OSError, ValueError):
                counters[pid] = starvation.read_counters(file)
        self._starvation.begin_phase(now, counters)

    def _sample_threads(self, now: float) -> None:
        if now < self._next_sample:
            return
        self._starvation.observe(now)
        self._next_sample = now + _SAMPLE_COST_FACTOR * (time.monotonic() - now)

    def _extend_deadline(self, now: float) -> None:
        """Extend a passed deadline by the time that the child was kept from running, or record it as broken."""
        is_first = not self._starvation.has_sampled
        self._starvation.observe(now)
        self.starved_s = self._starvation.seconds(now)
        # Only the next sample shows whether it is waiting right now.
        deadline = self._began + self._limit_s + self.starved_s + (_TICK_S if is_first else 0.0)
        if deadline <= now:
            self._record_broken("wall")
        elif self.starved_s > _MAX_EXTENSION_FACTOR * self._limit_s + _MAX_EXTENSION_S:
            self._record_broken("starved")
        else:
            self._deadline = deadline
            if now - self._last_heartbeat > _HEARTBEAT_S:
                self._last_heartbeat = now
                self._send_heartbeat()

    def _record_broken(self, limit: str) -> None:
        self.broken = self.broken or limit

    def header(
        self, number: int, usage: processes.Usage, counts: processes.CgroupCounters, ended: float
    ) -> dict[str, Any]:
        """Return the runner's own observations, see `verdicts.Header`; the candidate controls only when lines arrive.

        Args:
            number: Number of the request.
            usage: Resource use of all its processes that were waited for.
            counts: The control group's counters for the time of the evaluation.
            ended: End time of the child, likewise.
        """
        spent = [after - before for before, after in itertools.pairwise(self.line_times)]
        return {
            "number": number,
            "broken": self.broken,
            "status": usage.statuses[self._children[0]],
            # Lines that were still in the pipe when the child ended are read, and get their time, after its end.
            "wall_s": max(0.0, ended - self.line_times[0]) if self.line_times else 0.0,
            # No parent waits for a process whose parent ignores SIGCHLD, so `usage` does not include it.
            "cpu_s": max(usage.cpu_s, counts.cpu_s),
            "peak_mib": usage.peak_mib,
            # The first one is the loading time.
            "input_wall_s": spent[1:],
            "loaded": bool(spent),
            "memory_kills": counts.memory_kills,
            "evolved_status": usage.statuses[self._children[-1]] if len(self._children) > 1 else 0,
            "starved_s": self.starved_s,
        }


def tick_s(elapsed_s: float, *, is_notified: bool) -> float:
    """Return the time from one check of a child to the next, seconds.

    Args:
        elapsed_s: Time that the input took so far, seconds.
        is_notified: Whether the kernel notifies this process of the child's end.
    """
    return min(max(_TICK_S, _TICK_SHARE * elapsed_s), _MAX_TICK_S) if is_notified else _TICK_S


def _open_exit_descriptor(child: int) -> int | None:
    """Return a descriptor that is readable once the child has exited; None if the kernel or Python lacks pidfds."""
    try:
        return os.pidfd_open(child)
    except (OSError, AttributeError):
        return None
