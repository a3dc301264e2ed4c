"""The runner's loop: takes the job once, then one candidate at a time, and answers each with what became of it.

To the host go frames: first what this runner is, then three for each candidate: a header of the runner's own making
(JSON), what the child reported and what it printed (both the candidate's, opaque and capped). Before a header there may
be empty frames: the candidate is kept from running by others, and is waited for. A job whose evaluation is
split is judged in `split`; all else here is for one child that has the whole program.
"""

from __future__ import annotations

import json
import marshal
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from . import (
    additions,
    cgroup,
    child,
    codec,
    command,
    frames,
    isolated,
    lockdown,
    memory_files,
    plain_json,
    reap,
    scratch,
    supervisor,
)

_PRELOADED = (
    *("bisect", "collections", "copy", "dataclasses", "decimal", "enum", "fractions", "functools", "heapq"),
    *("itertools", "math", "operator", "random", "re", "statistics", "string", "typing"),
)
"""Imported once, so that no child waits for it."""

_NUMERIC = ("numpy", "numpy.random", "numpy.linalg", "numpy.fft")
"""The same for numpy, which loads its parts only when they are first used.

It doubles the memory and the mappings of a process, which are copied for every child and torn down with it: a third of
what a candidate costs. So it is imported before the first candidate that speaks of it.
"""

_STACK_BYTES = 2 * 2**20
"""Of each thread that a candidate starts: the usual 8 MiB would soon use its address space up."""

_FAULT = 70
"""Exit code when the runner itself cannot go on (EX_SOFTWARE); the reason is on standard error."""

_RESULTS_BYTES = 65536
_RESULT_BYTES = 128
"""Bytes a child may report: an error's text, and a number for each input."""


@dataclass(frozen=True)
class Settings:
    """The job as the host sends it.

    Attributes:
        work: What every child does; without inputs where the evaluation is split.
        isolation: How it is split; None if it is not.
        bounds: What every child may take.
        memory_mib: Memory of a child, MiB.
        cpu_s: Seconds of processor time of a child.
        scratch: Bytes a child may write into files; 0 where there is no place for any.
        first_uid: First user of this slot's range.
        uids: Size of that range; 0 if a child keeps the runner's user (tests without a container).
        idle_s: Seconds without a candidate after which the runner ends itself: its engine is gone.
    """

    work: child.Work
    isolation: isolated.Isolation | None
    bounds: supervisor.ChildLimits
    memory_mib: int
    cpu_s: float
    scratch: int
    first_uid: int
    uids: int
    idle_s: float


def main() -> NoReturn:
    """Serves until standard input closes."""
    try:
        serve()
    except (EOFError, BrokenPipeError, supervisor.HostGone, TimeoutError):
        sys.exit(0)
    except Exception as error:  # noqa: BLE001  process 1 has nobody to raise to; the host reads this line
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(_FAULT)


def serve() -> NoReturn:
    shared = isolated.MemoryFiles()
    kernel = lockdown.Kernel()
    settings = read_settings(json.loads(frames.read_frame(0)))
    kernel.prepare(may_execute=settings.work.command is not None, may_write=settings.scratch > 0)
    if reap.ALONE:
        lockdown.close_terminals()
    if settings.isolation is not None:
        memory_files.take_inputs(shared.inputs)
    threading.stack_size(_STACK_BYTES)
    child.print_by_line()
    packages = additions.find_packages()
    preload(_PRELOADED)
    versions = packages | {"python": sys.version.split()[0]} | find_numpy()
    if packages or additions.files():
        # They may use it where the program does not say so.
        preload(_NUMERIC)
    additions.enter_files()
    lockdown.settle()
    runner = Runner(settings, kernel, shared)
    runner.rehearse()
    runner.answer(json.dumps(versions).encode())
    while True:
        runner.prepare()
        header = frames.read_exactly(0, frames.REQUEST.size, patience_s=settings.idle_s)
        runner.judge(*frames.REQUEST.unpack(header))


def preload(names: Sequence[str]) -> None:
    """Imports those that are there."""
    for name in names:
        with suppress(ImportError):
            import_module(name)
    if "numpy" in sys.modules:
        codec.know_numpy(sys.modules["numpy"])


def find_numpy() -> dict[str, str]:
    """Numpy's version by its name; nothing where it cannot be imported. Another process imports it."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, import_module("numpy").__version__.encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end) as said:
        version = said.read()
    os.waitpid(pid, 0)
    return {"numpy": version} if version else {}


def read_settings(job: dict[str, Any]) -> Settings:
    # Where the evaluation is split they come in a frame of their own, which is not for this process.
    inputs = tuple(
        marshal.dumps((plain_json.decode(args), plain_json.decode(kwargs))) for args, kwargs in job["inputs"]
    )
    return Settings(
        work=child.Work(
            run_function=job["run_function"],
            inputs=inputs,
            seed=job["seed"],
            command=job["command"] and command.Command(**job["command"], seed=job["seed"]),
            thresholds=tuple(job["thresholds"]),
        ),
        isolation=isolated.read(job),
        bounds=supervisor.ChildLimits(
            wall_s=job["wall_s"],
            inputs=job["count"],
            output_bytes=job["output_kib"] * 1024,
            results_bytes=_RESULTS_BYTES + _RESULT_BYTES * job["count"],
        ),
        memory_mib=job["memory_mib"],
        cpu_s=job["cpu_s"],
        scratch=job["scratch_mib"] * 2**20,
        first_uid=job["first_uid"],
        uids=job["uids"],
        idle_s=job["idle_s"],
    )


@dataclass(frozen=True)
class _Waiting:
    """A child that waits for its program.

    Attributes:
        pid: Its process id.
        cage: What confines it.
        seen: The watch over it.
        go: Where it is told that its program is next.
    """

    pid: int
    cage: lockdown.ChildPrivileges
    seen: supervisor.Supervisor
    go: int


class Runner:
    """Judges one candidate at a time."""

    def __init__(self, settings: Settings, kernel: lockdown.Kernel, shared: isolated.MemoryFiles) -> None:
        self._settings = settings
        self._kernel = kernel
        self._shared = shared
        self._group = cgroup.Cgroup()
        self._next: _Waiting | None = None
        self._started = 0
        self._has_numeric = "numpy" in sys.modules
        self._address_space = self._allowed_space()
        self._first_uid = lockdown.first_user(settings.first_uid, settings.uids)

    def answer(self, *parts: bytes | memoryview) -> None:
        frames.write_frames(1, parts, patience_s=self._settings.idle_s)

    def rehearse(self) -> None:
        """Locks one child down that runs nothing, so that a missing right shows before the first candidate.

        Raises:
            RuntimeError: If it cannot be done here.
        """
        read_end, write_end = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                lockdown.confine(self._cage(0), self._kernel, parent)
            except BaseException as error:  # noqa: BLE001  whatever it is, the runner must hear of it
                os.write(write_end, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        os.close(write_end)
        fault = os.read(read_end, 4096)
        os.close(read_end)
        reap.end_all()
        if fault:
            raise RuntimeError(f"a candidate cannot be locked down here: {fault.decode(errors='replace')}")

    def prepare(self) -> None:
        """Makes the child of the next candidate, which locks itself down while the host looks at the last answer."""
        if self._settings.isolation is None:
            self._next = self._start()

    def judge(self, number: int, length: int, numeric: bool) -> None:
        """Judges one candidate, whose program of `length` bytes is next on standard input, and answers the host.

        Args:
            number: Of its request.
            length: Of its program, bytes.
            numeric: Whether it speaks of numpy.

        Raises:
            HostGone: If standard input closed meanwhile.
            RuntimeError: If a child failed before it ran anything of the candidate.
        """
        if numeric and not self._has_numeric:
            self._load_numeric()
        if self._settings.isolation is not None:
            self._judge_isolated(self._settings.isolation, number, length)
        else:
            self.answer(*self._judge_inline(number, length))

    def _load_numeric(self) -> None:
        self._has_numeric = True
        if self._next is not None:
            # It has too little address space for numpy. Its user is not used again: the count goes on.
            reap.end_all()
            self._next.seen.drain()
            os.close(self._next.go)
            self._next = None
        preload(_NUMERIC)
        lockdown.settle()
        self._address_space = self._allowed_space()
        self.prepare()

    def _allowed_space(self) -> int | None:
        if self._settings.work.command:
            return None
        return lockdown.address_space() + self._settings.memory_mib * 2**20

    def _judge_isolated(self, isolation: isolated.Isolation, number: int, length: int) -> None:
        """One referee an input; the last of them answers the host."""
        settings, parent = self._settings, os.getpid()
        rules = isolated.IsolationConfig(
            isolation, settings.work, settings.bounds, settings.cpu_s, self._shared, self._kernel
        )
        inputs = settings.bounds.inputs
        for index in range(inputs):
            # No two processes of a candidate, nor of its neighbours in time, are of the same user.
            first = 2 * (number * inputs + index)
            match = isolated.Candidate(number, index, inputs, (self._cage(first), self._cage(first + 1)))
            pid = self._kernel.fork()
            if pid == 0:
                isolated.supervise_evaluation(rules, match, length, self.answer, parent)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            reap.end_all()
            self._empty_scratch(*match.cages)
            if status == isolated.HOST_GONE:
                raise supervisor.HostGone
            if status not in (isolated.GO_ON, isolated.DONE):
                raise RuntimeError(f"a referee ended with {status}")
            if status == isolated.DONE:
                return

    def _judge_inline(self, number: int, length: int) -> tuple[bytes, memoryview, memoryview]:
        """One child for all inputs: the header, what it reported, what it printed."""
        waiting = self._next
        assert waiting is not None, "prepared before"
        pid, cage, seen = waiting.pid, waiting.cage, waiting.seen
        before = self._group.read()
        try:
            # Whether it is still there shows below.
            with suppress(BrokenPipeError):
                os.write(waiting.go, child.LENGTH.pack(length))
            os.close(waiting.go)
            seen.until_end()
        finally:
            usage = reap.end_all()
        ended = time.monotonic()
        self._empty_scratch(cage)
        seen.drain()
        if not seen.marks:
            raise RuntimeError(seen.early_end())
        header = supervisor.header(number, seen, usage, self._group.read().since(before), pid, ended)
        return json.dumps(header).encode(), seen.results.view(), seen.output.view()

    def _empty_scratch(self, *cages: lockdown.ChildPrivileges) -> None:
        if self._settings.scratch:
            scratch.empty([cage.uid for cage in cages])
            scratch.reset_times()

    def _start(self) -> _Waiting:
        self._started += 1
        cage = self._cage(self._started)
        results_end, results = os.pipe()
        output_end, output = os.pipe()
        go, go_end = os.pipe()
        pid = self._kernel.fork()
        if pid == 0:
            ends = lockdown.ParentDescriptors(results=results, output=output, go=go)
            child.live(self._settings.work, cage, ends, self._kernel)
        for end in (results, output, go):
            os.close(end)
        seen = supervisor.Supervisor(
            pid,
            results_end,
            output_end,
            self._settings.bounds,
            count_ran=lambda: self._group.read().cpu_s,
            tell_host=lambda: self.answer(b""),
        )
        return _Waiting(pid, cage, seen, go_end)

    def _cage(self, number: int) -> lockdown.ChildPrivileges:
        settings = self._settings
        uid = self._first_uid + number % settings.uids if settings.uids else None
        return lockdown.ChildPrivileges(
            address_space=self._address_space,
            cpu_s=settings.cpu_s,
            scratch=settings.scratch,
            processes=lockdown.MORE_PROCESSES if settings.work.command else lockdown.PROCESSES,
            open_files=lockdown.MORE_OPEN_FILES if settings.work.command else lockdown.OPEN_FILES,
            uid=uid,
        )
