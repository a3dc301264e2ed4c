"""Run the fork server: read the job once, then judge one candidate at a time and send each result to the host.

The host receives frames. The first has the versions of Python and packages. Then there are three for each candidate: a
header written by the runner (JSON), the child's report, and the child's output; the last two come from the candidate,
are capped, and are opaque to the runner. Empty frames may precede a header: they are heartbeats, sent while other
programs keep the candidate from running. A job with isolated evaluation is judged in `isolated`; this module judges
jobs in which one child has the whole program.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn

from . import child, codec, frames, isolated, lockdown, processes, program, scratch, shared_files, supervisor
from .job import Job, read_job

_PRELOADED = (
    *("bisect", "collections", "copy", "dataclasses", "decimal", "enum", "fractions", "functools", "heapq"),
    *("itertools", "math", "operator", "random", "re", "statistics", "string", "typing"),
)
"""Modules imported once in the runner, so that no child has to import them."""

_NUMPY_MODULES = ("numpy", "numpy.random", "numpy.linalg", "numpy.fft")
"""Modules of numpy to import in the runner; numpy loads its parts only when they are first used.

Numpy doubles the memory mappings of a process, which are copied for every child and removed with it: a third of a
candidate's overhead. So it is imported only before the first candidate that mentions it.
"""

_STACK_BYTES = 2 * 2**20
"""Stack size of each thread that a candidate starts; the usual 8 MiB would soon use up its address space."""

_FAILED = 70
"""Exit code when the runner itself fails (EX_SOFTWARE); the reason is on standard error."""


def main() -> NoReturn:
    """Serve candidates until standard input closes."""
    try:
        serve()
    except (EOFError, BrokenPipeError, supervisor.HostGone, TimeoutError):
        sys.exit(0)
    except Exception as error:  # noqa: BLE001  process 1 has no caller; the host reads this line
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(_FAILED)


def serve() -> NoReturn:
    shared = shared_files.SharedFiles()
    kernel = lockdown.Kernel()
    job = read_job(json.loads(frames.read_frame(0)))
    kernel.prepare(may_execute=job.command is not None, may_write=job.scratch > 0)
    if processes.IN_CONTAINER:
        lockdown.close_terminals()
    if job.is_isolated:
        shared.receive_inputs()
    threading.stack_size(_STACK_BYTES)
    child.print_by_line()
    packages = program.find_packages()
    preload(_PRELOADED)
    versions = packages | {"python": sys.version.split()[0]} | find_numpy()
    if packages or program.files():
        # They may use numpy even if the program does not mention it.
        preload(_NUMPY_MODULES)
    program.enter_files()
    lockdown.freeze_preloaded()
    runner = Runner(job, kernel, shared)
    runner.check_confinement()
    runner.answer(json.dumps(versions).encode())
    while True:
        runner.prepare()
        header = frames.read_exactly(0, frames.REQUEST.size, timeout_s=job.idle_s)
        runner.judge(*frames.REQUEST.unpack(header))


def preload(names: Sequence[str]) -> None:
    """Import those of the modules that exist."""
    for name in names:
        with suppress(ImportError):
            import_module(name)
    if "numpy" in sys.modules:
        codec.register_numpy(sys.modules["numpy"])


def find_numpy() -> dict[str, str]:
    """Return numpy's version by its name, or an empty dict if there is none, without the time that an import takes."""
    spec = find_spec("numpy")
    if spec is None or spec.origin is None:
        return {}
    names = os.listdir(os.path.dirname(os.path.dirname(spec.origin)))
    found = (re.fullmatch(r"numpy-(.+)\.(?:dist|egg)-info", name) for name in names)
    return {"numpy": next((match[1] for match in found if match), "unknown")}


@dataclass(frozen=True)
class _PreparedChild:
    """A child that is locked down and waits for its program.

    Attributes:
        privileges: Limits and user of the child.
        child_supervisor: Supervisor of the child.
        go: Pipe that tells the child that its program is next on standard input.
    """

    privileges: lockdown.ChildPrivileges
    child_supervisor: supervisor.Supervisor
    go: int


class Runner:
    """Judge of one candidate at a time."""

    def __init__(self, job: Job, kernel: lockdown.Kernel, shared: shared_files.SharedFiles) -> None:
        self._job = job
        self._kernel = kernel
        self._shared = shared
        self._cgroup = processes.Cgroup()
        self._prepared: _PreparedChild | None = None
        self._started = 0
        self._has_numpy = "numpy" in sys.modules
        self._address_space = self._address_space_limit()
        self._first_uid = lockdown.first_user(job.first_uid, job.uids)

    def answer(self, *parts: bytes | memoryview) -> None:
        frames.write_frames(1, parts, timeout_s=self._job.idle_s)

    def check_confinement(self) -> None:
        """Lock down one child that runs nothing, so that a missing right is found before the first candidate.

        Raises:
            RuntimeError: If a child cannot be locked down here.
        """
        read_end, write_end = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                lockdown.confine(self._child_privileges(0), self._kernel, parent)
            except BaseException as error:  # noqa: BLE001  the runner reports any error
                os.write(write_end, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        os.close(write_end)
        fault = os.read(read_end, 4096)
        os.close(read_end)
        processes.end_all()
        if fault:
            raise RuntimeError(f"a candidate cannot be locked down here: {fault.decode(errors='replace')}")

    def prepare(self) -> None:
        """Fork the child of the next candidate; it locks itself down while the host processes the last answer."""
        if not self._job.is_isolated:
            self._prepared = self._start()

    def judge(self, number: int, length: int, uses_numpy: bool) -> None:
        """Judge one candidate, whose program is next on standard input, and send the result to the host.

        Args:
            number: Number of the request.
            length: Length of the program, bytes.
            uses_numpy: Whether the program mentions numpy.

        Raises:
            HostGone: If standard input closed during the evaluation.
            RuntimeError: If a child failed before it ran any code of the candidate.
        """
        if uses_numpy and not self._has_numpy:
            self._load_numpy()
        if self._job.is_isolated:
            self._judge_isolated(number, length)
        else:
            self.answer(*self._judge_inline(number, length))

    def _load_numpy(self) -> None:
        self._has_numpy = True
        if self._prepared is not None:
            # The prepared child has too little address space for numpy. Its user id is not used again, because the
            # count continues.
            processes.end_all()
            self._prepared.child_supervisor.drain()
            os.close(self._prepared.go)
            self._prepared = None
        preload(_NUMPY_MODULES)
        lockdown.freeze_preloaded()
        self._address_space = self._address_space_limit()
        self.prepare()

    def _address_space_limit(self) -> int | None:
        return None if self._job.command else lockdown.address_space() + self._job.memory_mib * 2**20

    def _judge_isolated(self, number: int, length: int) -> None:
        """Fork one supervisor process per input; the last one answers the host."""
        for index in range(self._job.limits.inputs):
            status = self._supervise(number, length, index)
            if status == isolated.UNCHECKED:
                status = self._supervise(number, length, index, checks=True)
            if status == isolated.ANSWERED:
                return

    def _supervise(self, number: int, length: int, index: int, *, checks: bool = False) -> int:
        """Fork a supervisor process for an input, or for the check of its calls; return its exit code."""
        # Every process of this candidate and of those right before and after it has its own user id.
        first = 4 * (number * self._job.limits.inputs + index) + 2 * checks
        privileges, parent = (self._child_privileges(first), self._child_privileges(first + 1)), os.getpid()
        pid = self._kernel.fork()
        if pid == 0:
            isolated.Evaluation(
                *(self._job, self._kernel, self._shared, self._cgroup, self.answer, number, index, privileges, checks)
            ).supervise(length, parent)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        processes.end_all()
        self._empty_scratch(*privileges)
        if status == isolated.HOST_GONE:
            raise supervisor.HostGone
        if status not in (isolated.NEXT_INPUT, isolated.ANSWERED, isolated.UNCHECKED):
            raise RuntimeError(f"a referee ended with {status}")
        return status

    def _judge_inline(self, number: int, length: int) -> tuple[bytes, memoryview, memoryview]:
        """Run one child for all inputs; return the header, the child's report and its output."""
        prepared = self._prepared
        assert prepared is not None, "prepared before"
        # If the child has ended already, its supervisor notices.
        with suppress(BrokenPipeError):
            os.write(prepared.go, child.LENGTH.pack(length))
        os.close(prepared.go)
        header = prepared.child_supervisor.run(number)
        self._empty_scratch(prepared.privileges)
        return (
            json.dumps(header).encode(),
            prepared.child_supervisor.results.view(),
            prepared.child_supervisor.output.view(),
        )

    def _empty_scratch(self, *privileges: lockdown.ChildPrivileges) -> None:
        if self._job.scratch:
            scratch.empty([privileges.uid for privileges in privileges])
            if self._job.uids:  # else the devices are not a container's own
                scratch.reset_times()

    def _start(self) -> _PreparedChild:
        self._started += 1
        privileges = self._child_privileges(self._started)
        results_end, results = os.pipe()
        output_end, output = os.pipe()
        go, go_end = os.pipe()
        pid = self._kernel.fork()
        if pid == 0:
            child.run_child(self._job, privileges, self._kernel, results=results, output=output, go=go)
        for end in (results, output, go):
            os.close(end)
        child_supervisor = supervisor.Supervisor(
            (pid,), results_end, output_end, self._job.limits, self._cgroup, lambda: self.answer(b"")
        )
        return _PreparedChild(privileges, child_supervisor, go_end)

    def _child_privileges(self, number: int) -> lockdown.ChildPrivileges:
        job = self._job
        return lockdown.ChildPrivileges(
            address_space=self._address_space,
            cpu_s=job.cpu_s,
            scratch=job.scratch,
            may_execute=job.command is not None,
            uid=self._first_uid + number % job.uids if job.uids else None,
        )
