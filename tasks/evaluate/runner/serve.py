"""The runner's loop: takes the job once, then one candidate at a time, and answers each with what became of it.

To the host go frames: first what this runner is, then three for each candidate: a header of the runner's own making
(JSON), what the child reported and what it printed (both the candidate's, opaque and capped).
"""

from __future__ import annotations

import json
import marshal
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from . import child, frames, lockdown, memory, plain, reap, watch

_PRELOADED = (
    *("bisect", "collections", "copy", "dataclasses", "decimal", "enum", "fractions", "functools", "heapq"),
    *("itertools", "math", "operator", "random", "re", "statistics", "string", "typing"),
    *("numpy", "numpy.random", "numpy.linalg", "numpy.fft"),
)
"""Imported once, so that no child waits for it; numpy loads its parts only when they are first used."""

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
        work: What every child does.
        bounds: What every child may take.
        memory_mib: Memory of a child, MiB.
        cpu_s: Seconds of processor time of a child.
        first_uid: First user of this slot's range.
        uids: Size of that range; 0 if a child keeps the runner's user (tests without a container).
        idle_s: Seconds without a candidate after which the runner ends itself: its engine is gone.
    """

    work: child.Work
    bounds: watch.Bounds
    memory_mib: int
    cpu_s: float
    first_uid: int
    uids: int
    idle_s: float


def main() -> NoReturn:
    """Serves until standard input closes."""
    try:
        serve()
    except (EOFError, BrokenPipeError, watch.HostGone, TimeoutError):
        sys.exit(0)
    except Exception as error:  # noqa: BLE001  process 1 has nobody to raise to; the host reads this line
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(_FAULT)


def serve() -> NoReturn:
    kernel = lockdown.Kernel()
    kernel.prepare()
    settings = read_settings(json.loads(frames.read_frame(0)))
    threading.stack_size(_STACK_BYTES)
    child.print_by_line()
    versions = preload()
    lockdown.settle()
    runner = Runner(settings, kernel)
    runner.rehearse()
    runner.answer(json.dumps(versions).encode())
    while True:
        header = frames.read_exactly(0, frames.REQUEST.size, patience_s=settings.idle_s)
        number, length = frames.REQUEST.unpack(header)
        runner.answer(*runner.judge(number, length))


def preload() -> dict[str, str]:
    """Imports what candidates commonly use; the versions of Python and numpy."""
    for name in _PRELOADED:
        with suppress(ImportError):
            import_module(name)
    versions = {"python": sys.version.split()[0]}
    if "numpy" in sys.modules:
        versions["numpy"] = sys.modules["numpy"].__version__
    return versions


def read_settings(job: dict[str, Any]) -> Settings:
    inputs = tuple(marshal.dumps((plain.decode(args), plain.decode(kwargs))) for args, kwargs in job["inputs"])
    return Settings(
        work=child.Work(run_function=job["run_function"], inputs=inputs, seed=job["seed"]),
        bounds=watch.Bounds(
            wall_s=job["wall_s"],
            inputs=len(inputs),
            output_bytes=job["output_kib"] * 1024,
            results_bytes=_RESULTS_BYTES + _RESULT_BYTES * len(inputs),
        ),
        memory_mib=job["memory_mib"],
        cpu_s=job["cpu_s"],
        first_uid=job["first_uid"],
        uids=job["uids"],
        idle_s=job["idle_s"],
    )


class Runner:
    """Runs one child at a time."""

    def __init__(self, settings: Settings, kernel: lockdown.Kernel) -> None:
        self._settings = settings
        self._kernel = kernel
        self._kills = memory.KillCounter()
        self._address_space = lockdown.address_space() + settings.memory_mib * 2**20
        self._first_uid = lockdown.first_user(settings.first_uid, settings.uids)

    def answer(self, *parts: bytes) -> None:
        frames.write_all(1, b"".join(map(frames.frame, parts)), patience_s=self._settings.idle_s)

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
        reap.end_all(pid)
        if fault:
            raise RuntimeError(f"a candidate cannot be locked down here: {fault.decode(errors='replace')}")

    def judge(self, number: int, length: int) -> tuple[bytes, bytes, bytes]:
        """Runs one candidate, whose program of `length` bytes is next on standard input.

        Returns:
            The header, what the child reported, what it printed.

        Raises:
            HostGone: If standard input closed meanwhile.
            RuntimeError: If the child failed before it ran anything of the candidate.
        """
        kills = self._kills.read()
        pid, seen = self._start(number, length)
        try:
            seen.until_end()
        finally:
            usage = reap.end_all(pid)
        ended = time.monotonic()
        seen.drain()
        if not seen.marks:
            raise RuntimeError(f"a child failed before its candidate ran: {seen.results.decode(errors='replace')}")
        header = self._header(number, seen, usage, ended) | {"memory_kills": self._kills.read() - kills}
        return json.dumps(header).encode(), bytes(seen.results), bytes(seen.output)

    def _start(self, number: int, length: int) -> tuple[int, watch.Watch]:
        results_end, results = os.pipe()
        output_end, output = os.pipe()
        pid = os.fork()
        if pid == 0:
            ends = lockdown.Ends(results=results, output=output)
            child.live(self._settings.work, self._cage(number), ends, length, self._kernel)
        os.close(results)
        os.close(output)
        return pid, watch.Watch(pid, results_end, output_end, self._settings.bounds)

    def _cage(self, number: int) -> lockdown.Cage:
        settings = self._settings
        uid = self._first_uid + number % settings.uids if settings.uids else None
        return lockdown.Cage(address_space=self._address_space, cpu_s=settings.cpu_s, uid=uid)

    def _header(self, number: int, seen: watch.Watch, usage: reap.Usage, ended: float) -> dict[str, Any]:
        """What the runner saw with its own eyes; nothing in it is the candidate's word, but when a line came."""
        spent = [after - before for before, after in zip(seen.marks, seen.marks[1:], strict=False)]
        return {
            "number": number,
            "broken": seen.broken,
            "status": usage.status,
            "wall_s": ended - seen.marks[0],
            "cpu_s": usage.cpu_s,
            "peak_mib": usage.peak_mib,
            # The first is the time of loading.
            "input_wall_s": spent[1:],
            "loaded": bool(spent),
        }
