"""Run the fork server: read the job once, then judge one candidate at a time and send each result to the host.

The host receives frames. The first has the versions of Python and packages. Then there are three for each candidate: a
header written by the runner (JSON), the child's report, and the child's output; the last two come from the candidate,
are capped, and are opaque to the runner. Empty frames may precede a header: they are heartbeats, sent while other
programs keep the candidate from running. A job with isolated evaluation is judged in `isolated`; this module judges
jobs in which one child has the whole program.
"""

from __future__ import annotations

import json
import marshal
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
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

_RESULTS_BYTES = 65536
_RESULT_BYTES = 128
"""Maximum size of a report, bytes: `_RESULTS_BYTES` for an error's text, and `_RESULT_BYTES` for each input's
number."""

_DRAWING_BYTES = 2**20
"""Maximum size of a drawing in a report, bytes of JSON."""


@dataclass(frozen=True)
class Settings:
    """The job, as the host sends it.

    Attributes:
        work: Work of every child; without inputs in isolated evaluation.
        isolation: Settings of isolated evaluation; None for evaluation in one process.
        limits: Limits of every child, enforced by the supervisor.
        memory_mib: Memory limit of a child, MiB.
        cpu_s: Limit of a child's processor time, seconds.
        scratch: Maximum bytes that a child may write into files; 0 if there is no writable directory.
        first_uid: First user id of this slot's range.
        uids: Number of user ids in the range; 0 if children keep the runner's user (tests without a container).
        idle_s: Seconds without a candidate after which the runner exits, because its engine is gone.
    """

    work: child.Work
    isolation: isolated.Isolation | None
    limits: supervisor.ChildLimits
    memory_mib: int
    cpu_s: float
    scratch: int
    first_uid: int
    uids: int
    idle_s: float


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
    shared = isolated.MemoryFiles()
    kernel = lockdown.Kernel()
    settings = read_settings(json.loads(frames.read_frame(0)))
    kernel.prepare(may_execute=settings.work.command is not None, may_write=settings.scratch > 0)
    if reap.IN_CONTAINER:
        lockdown.close_terminals()
    if settings.isolation is not None:
        memory_files.receive_inputs(shared.inputs)
    threading.stack_size(_STACK_BYTES)
    child.print_by_line()
    packages = additions.find_packages()
    preload(_PRELOADED)
    versions = packages | {"python": sys.version.split()[0]} | find_numpy()
    if packages or additions.files():
        # They may use numpy even if the program does not mention it.
        preload(_NUMPY_MODULES)
    additions.enter_files()
    lockdown.freeze_preloaded()
    runner = Runner(settings, kernel, shared)
    runner.check_confinement()
    runner.answer(json.dumps(versions).encode())
    while True:
        runner.prepare()
        header = frames.read_exactly(0, frames.REQUEST.size, timeout_s=settings.idle_s)
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


def read_settings(job: dict[str, Any]) -> Settings:
    # In isolated evaluation the inputs come in a separate frame, which this process must not read.
    inputs = tuple(
        marshal.dumps((plain_json.decode(args), plain_json.decode(kwargs))) for args, kwargs in job["inputs"]
    )
    return Settings(
        work=child.Work(
            run_function=job["run_function"],
            inputs=inputs,
            seed=job["seed"],
            command=job["command"] and command.Command(**job["command"], seed=job["seed"], draws=job["draws"]),
            thresholds=tuple(job["thresholds"]),
            draws=job["draws"],
        ),
        isolation=isolated.read_isolation(job),
        limits=supervisor.ChildLimits(
            wall_s=job["wall_s"],
            inputs=job["count"],
            output_bytes=job["output_kib"] * 1024,
            results_bytes=_RESULTS_BYTES + (_DRAWING_BYTES if job["draws"] else _RESULT_BYTES * job["count"]),
        ),
        memory_mib=job["memory_mib"],
        cpu_s=job["cpu_s"],
        scratch=job["scratch_mib"] * 2**20,
        first_uid=job["first_uid"],
        uids=job["uids"],
        idle_s=job["idle_s"],
    )


@dataclass(frozen=True)
class _PreparedChild:
    """A child that is locked down and waits for its program.

    Attributes:
        pid: Its process id.
        privileges: Limits and user of the child.
        child_supervisor: Supervisor of the child.
        go: Pipe that tells the child that its program is next on standard input.
    """

    pid: int
    privileges: lockdown.ChildPrivileges
    child_supervisor: supervisor.Supervisor
    go: int


class Runner:
    """Judge of one candidate at a time."""

    def __init__(self, settings: Settings, kernel: lockdown.Kernel, shared: isolated.MemoryFiles) -> None:
        self._settings = settings
        self._kernel = kernel
        self._shared = shared
        self._cgroup = cgroup.Cgroup()
        self._prepared: _PreparedChild | None = None
        self._started = 0
        self._has_numpy = "numpy" in sys.modules
        self._address_space = self._address_space_limit()
        self._first_uid = lockdown.first_user(settings.first_uid, settings.uids)

    def answer(self, *parts: bytes | memoryview) -> None:
        frames.write_frames(1, parts, timeout_s=self._settings.idle_s)

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
        reap.end_all()
        if fault:
            raise RuntimeError(f"a candidate cannot be locked down here: {fault.decode(errors='replace')}")

    def prepare(self) -> None:
        """Fork the child of the next candidate; it locks itself down while the host processes the last answer."""
        if self._settings.isolation is None:
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
        if self._settings.isolation is not None:
            self._judge_isolated(self._settings.isolation, number, length)
        else:
            self.answer(*self._judge_inline(number, length))

    def _load_numpy(self) -> None:
        self._has_numpy = True
        if self._prepared is not None:
            # The prepared child has too little address space for numpy. Its user id is not used again, because the
            # count continues.
            reap.end_all()
            self._prepared.child_supervisor.drain()
            os.close(self._prepared.go)
            self._prepared = None
        preload(_NUMPY_MODULES)
        lockdown.freeze_preloaded()
        self._address_space = self._address_space_limit()
        self.prepare()

    def _address_space_limit(self) -> int | None:
        if self._settings.work.command:
            return None
        return lockdown.address_space() + self._settings.memory_mib * 2**20

    def _judge_isolated(self, isolation: isolated.Isolation, number: int, length: int) -> None:
        """Fork one supervisor process per input; the last one answers the host."""
        settings, parent = self._settings, os.getpid()
        config = isolated.IsolationConfig(
            isolation, settings.work, settings.limits, settings.cpu_s, self._shared, self._kernel
        )
        inputs = settings.limits.inputs
        for index in range(inputs):
            # Every process of this candidate and of those right before and after it has its own user id.
            first = 2 * (number * inputs + index)
            evaluation = isolated.InputEvaluation(
                number, index, inputs, (self._child_privileges(first), self._child_privileges(first + 1))
            )
            pid = self._kernel.fork()
            if pid == 0:
                isolated.supervise_evaluation(config, evaluation, length, self.answer, parent)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            reap.end_all()
            self._empty_scratch(*evaluation.privileges)
            if status == isolated.HOST_GONE:
                raise supervisor.HostGone
            if status not in (isolated.NEXT_INPUT, isolated.ANSWERED):
                raise RuntimeError(f"a referee ended with {status}")
            if status == isolated.ANSWERED:
                return

    def _judge_inline(self, number: int, length: int) -> tuple[bytes, memoryview, memoryview]:
        """Run one child for all inputs; return the header, the child's report and its output."""
        prepared = self._prepared
        assert prepared is not None, "prepared before"
        pid, privileges, child_supervisor = prepared.pid, prepared.privileges, prepared.child_supervisor
        before = self._cgroup.read()
        try:
            # If the child has ended already, the supervisor notices below.
            with suppress(BrokenPipeError):
                os.write(prepared.go, child.LENGTH.pack(length))
            os.close(prepared.go)
            child_supervisor.wait()
        finally:
            usage = reap.end_all()
        ended = time.monotonic()
        self._empty_scratch(privileges)
        child_supervisor.drain()
        if not child_supervisor.line_times:
            raise RuntimeError(child_supervisor.startup_failure())
        header = supervisor.build_header(number, child_supervisor, usage, self._cgroup.read().since(before), pid, ended)
        return json.dumps(header).encode(), child_supervisor.results.view(), child_supervisor.output.view()

    def _empty_scratch(self, *privileges: lockdown.ChildPrivileges) -> None:
        if self._settings.scratch:
            scratch.empty([privileges.uid for privileges in privileges])
            scratch.reset_times()

    def _start(self) -> _PreparedChild:
        self._started += 1
        privileges = self._child_privileges(self._started)
        results_end, results = os.pipe()
        output_end, output = os.pipe()
        go, go_end = os.pipe()
        pid = self._kernel.fork()
        if pid == 0:
            pipes = lockdown.ChildPipeEnds(results=results, output=output, go=go)
            child.run_child(self._settings.work, privileges, pipes, self._kernel)
        for end in (results, output, go):
            os.close(end)
        child_supervisor = supervisor.Supervisor(
            pid,
            results_end,
            output_end,
            self._settings.limits,
            read_cpu_s=lambda: self._cgroup.read().cpu_s,
            send_heartbeat=lambda: self.answer(b""),
        )
        return _PreparedChild(pid, privileges, child_supervisor, go_end)

    def _child_privileges(self, number: int) -> lockdown.ChildPrivileges:
        settings = self._settings
        uid = self._first_uid + number % settings.uids if settings.uids else None
        return lockdown.ChildPrivileges(
            address_space=self._address_space,
            cpu_s=settings.cpu_s,
            scratch=settings.scratch,
            processes=lockdown.COMMAND_PROCESSES if settings.work.command else lockdown.PROCESSES,
            open_files=lockdown.COMMAND_OPEN_FILES if settings.work.command else lockdown.OPEN_FILES,
            uid=uid,
        )
