"""Judge by isolated evaluation: the evolved functions run in one process, the specification that scores in another.

For each input there are three new processes: a supervisor, which runs only the runner's code, and its two children,
each with its own user. One child has the candidate's program and answers calls of its evolved functions; the other has
the specification, with stubs in place of those functions. So no state of a candidate outlives an input. The runner,
whose memory every process copies, never holds an input or any data of a candidate: these are in `memory_files`.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from . import cgroup, child, frames, lockdown, memory_files, reap, rpc, supervisor
from .program import FILE, Program

STUB = "__evolved__"
"""Name in the specification's namespace of the function that calls the evolved functions."""

NEXT_INPUT, ANSWERED, HOST_GONE, FAILED = 0, 10, 11, 70
"""Exit codes of a supervisor process: the next input is due; the host has been answered; the host is gone; the runner
failed."""

_LOADED = b"\n\n"
"""Start of a report if the program was loaded."""

_SCORE = _LOADED + b'{"score": '
"""Start of a report if there is a score on its input."""


@dataclass(frozen=True)
class Isolation:
    """Settings of isolated evaluation.

    Attributes:
        evolved: Names of the evolved functions.
        source: Text of the specification.
        code: The specification compiled, with stubs in place of the evolved functions' bodies.
    """

    evolved: list[str]
    source: str
    code: types.CodeType


def read_isolation(job: dict[str, Any]) -> Isolation | None:
    """Return the job's settings of isolated evaluation; None if it is evaluated in one process."""
    isolation = job["isolation"]
    if isolation is None:
        return None
    evolved, source = isolation["evolved"], isolation["specification"]
    return Isolation(evolved, source, stub_module(source, evolved))


def stub_module(specification: str, evolved: Sequence[str]) -> types.CodeType:
    """Compile the specification with stubs for the evolved functions; line numbers and decorators are kept."""
    tree = ast.parse(specification)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in evolved:
            number = evolved.index(node.name)
            header = ast.parse(f"def f(*args, **kwargs):\n return {STUB}({number}, args, kwargs)").body[0]
            assert isinstance(header, ast.FunctionDef)
            node.args, node.body, node.returns = header.args, header.body, None
    return compile(tree, FILE, "exec", dont_inherit=True)


class MemoryFiles:
    """Data that the processes of a candidate share; it must be created before the system-call filter is installed.

    Attributes:
        inputs: All inputs, written once.
        program: The candidate's program, for the processes of every input.
        parts: Header, report and output of each input so far.
    """

    def __init__(self) -> None:
        self.inputs, self.program, self.parts = (
            memory_files.MemoryFile(name) for name in ("inputs", "program", "parts")
        )


@dataclass(frozen=True)
class InputEvaluation:
    """Evaluation of one candidate on one input.

    Attributes:
        number: Number of the candidate's request.
        index: 0-based index of the input.
        inputs: Number of inputs.
        privileges: Limits and users of the process of the evolved functions, and of the scoring process.
    """

    number: int
    index: int
    inputs: int
    privileges: tuple[lockdown.ChildPrivileges, lockdown.ChildPrivileges]


@dataclass(frozen=True)
class IsolationConfig:
    """Settings and resources shared by all candidates of a runner."""

    isolation: Isolation
    work: child.Work
    limits: supervisor.ChildLimits
    cpu_s: float
    files: MemoryFiles
    kernel: lockdown.Kernel


def supervise_evaluation(
    config: IsolationConfig, evaluation: InputEvaluation, length: int, answer: Callable[..., None], parent: int
) -> NoReturn:
    """Run a supervisor process: evaluate one input, answer the host if it was the last one, and exit.

    Args:
        config: Settings shared by all candidates.
        evaluation: The candidate's number, the input, and the limits of the processes.
        length: Length of the program, bytes; it is next on standard input before the first input.
        answer: Sends frames to the host.
        parent: Process id of the runner.
    """
    status = FAILED
    try:
        status = _EvaluationSupervisor(config, evaluation, answer).judge(length, parent)
    except supervisor.HostGone:
        status = HOST_GONE
    except Exception as error:  # noqa: BLE001  the process exits here; the host reads this line
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


class _EvaluationSupervisor:
    def __init__(self, config: IsolationConfig, evaluation: InputEvaluation, answer: Callable[..., None]) -> None:
        self._config = config
        self._evaluation = evaluation
        self._answer = answer
        self._cgroup = cgroup.Cgroup()

    def judge(self, length: int, parent: int) -> int:
        self._config.kernel.adopt_orphans()
        self._config.kernel.die_with(parent)
        if self._evaluation.index == 0:
            self._receive_program(length)
        before = self._cgroup.read()
        evolved, scorer, child_supervisor = self._start()
        try:
            child_supervisor.wait()
        finally:
            usage = reap.end_all()
        ended = time.monotonic()
        child_supervisor.drain()
        counts = self._cgroup.read().since(before)
        # When memory runs out, the kernel may kill either of the two processes; it is the candidate's fault in both
        # cases.
        if not child_supervisor.line_times and not counts.memory_kills:
            raise RuntimeError(child_supervisor.startup_failure())
        header = supervisor.build_header(self._evaluation.number, child_supervisor, usage, counts, scorer, ended)
        header |= {"evolved_status": usage.statuses[evolved]}
        return self._finish_input(header, bytes(child_supervisor.results.view()), bytes(child_supervisor.output.view()))

    def _receive_program(self, length: int) -> None:
        file = self._config.files.program
        file.clear()
        self._config.files.parts.clear()
        file.append(frames.read_exactly(0, length))

    def _start(self) -> tuple[int, int, supervisor.Supervisor]:
        """Start the two processes and their supervisor; the first is forked before the second's results pipe exists."""
        output_end, output = os.pipe()
        call_read, call_write = os.pipe()
        reply_read, reply_write = os.pipe()
        evolved = self._config.kernel.fork()
        if evolved == 0:
            _run_evolved(self._config, self._evaluation.privileges[0], output, (call_read, reply_write))
        results_end, results = os.pipe()
        scorer = self._config.kernel.fork()
        if scorer == 0:
            _run_scorer(self._config, self._evaluation, output, (results, reply_read, call_write))
        for descriptor in (output, call_read, call_write, reply_read, reply_write, results):
            os.close(descriptor)
        child_supervisor = supervisor.Supervisor(
            scorer,
            results_end,
            output_end,
            self._remaining_limits(),
            other_processes=[evolved],
            read_cpu_s=lambda: self._cgroup.read().cpu_s,
            send_heartbeat=lambda: self._answer(b""),
        )
        return evolved, scorer, child_supervisor

    def _remaining_limits(self) -> supervisor.ChildLimits:
        """Return the limits for this input: the output limit holds for all inputs together."""
        limits = self._config.limits
        printed = sum(map(len, memory_files.read_parts(self._config.files.parts)[2::3]))
        return supervisor.ChildLimits(limits.wall_s, 1, limits.output_bytes - printed, limits.results_bytes)

    def _finish_input(self, header: dict[str, Any], results: bytes, output: bytes) -> int:
        """Store the results of this input; answer the host if no further input is to be evaluated."""
        parts, threshold = self._config.files.parts, self._config.work.thresholds[self._evaluation.index]
        continues = results.startswith(_SCORE) and not _falls_short(results, threshold)
        memory_files.write_parts(parts, json.dumps(header).encode(), results, output)
        header, results, output = _merge(memory_files.read_parts(parts))
        continues = (
            continues and not header["broken"] and header["status"] == 0 and header["cpu_s"] <= self._config.cpu_s
        )
        if continues and self._evaluation.index + 1 < self._evaluation.inputs:
            return NEXT_INPUT
        self._answer(json.dumps(header).encode(), results, output)
        return ANSWERED


def _falls_short(results: bytes, threshold: float | None) -> bool:
    """Return whether the score of a report is below a threshold; the host checks again."""
    if threshold is None:
        return False
    try:
        return float(results.removeprefix(_SCORE).rstrip(b"}\n")) < threshold
    except ValueError:
        return False


def _merge(parts: list[bytes]) -> tuple[dict[str, Any], bytes, bytes]:
    """Merge the parts of all inputs into one header, report and output; a failure of the last input remains."""
    headers = [json.loads(part) for part in parts[::3]]
    whole = headers[-1] | {
        "wall_s": sum(header["wall_s"] for header in headers),
        "cpu_s": sum(header["cpu_s"] for header in headers),
        "peak_mib": max(header["peak_mib"] for header in headers),
        "input_wall_s": [seconds for header in headers for seconds in header["input_wall_s"]],
        "memory_kills": sum(header["memory_kills"] for header in headers),
    }
    *before, last = parts[1::3]
    if last.startswith(_LOADED):
        last = b"".join([_LOADED, *(part.removeprefix(_LOADED) for part in before), last.removeprefix(_LOADED)])
    return whole, last, b"".join(parts[2::3])


def _run_evolved(
    config: IsolationConfig, privileges: lockdown.ChildPrivileges, output: int, ends: tuple[int, int]
) -> NoReturn:
    """Run the process that has the candidate's program. It receives the arguments of calls and nothing else."""
    exit_now, parent = os._exit, os.getppid()
    status = 1
    try:
        os.setsid()
        source = config.files.program.read().decode("utf-8", "surrogatepass")
        connection = rpc.Connection(*lockdown.own_descriptors(output, *ends))
        lockdown.confine(privileges, config.kernel, parent)
        connection.send(rpc.LOCKED, str(config.kernel.stay_on_core()).encode())
        program = Program(source, config.work.seed)
        _answer_calls(connection, program, config.isolation.evolved)
        child.flush()
        status = 0
    finally:
        # Exit whatever was raised: a candidate may break everything here; the other process sees the end of the pipe.
        exit_now(status)


def _answer_calls(connection: rpc.Connection, program: Program, evolved: Sequence[str]) -> None:
    try:
        functions = program.load(evolved)
        program.reseed()
    except BaseException as error:  # noqa: BLE001  a candidate may raise anything
        connection.send(*rpc.encode_error(error, program.describe))
        return
    connection.send(rpc.READY, b"")
    rpc.serve_calls(connection, functions, program.describe)


def _run_scorer(
    config: IsolationConfig, evaluation: InputEvaluation, output: int, ends: tuple[int, int, int]
) -> NoReturn:
    """Run the process that has the specification and the input. No code of a candidate ever runs here."""
    exit_now, parent = os._exit, os.getppid()
    results = ends[0]
    try:
        os.setsid()
        data = memory_files.read_input(config.files.inputs, evaluation.index)
        results, reply_read, call_write = lockdown.own_descriptors(output, *ends)
        lockdown.confine(evaluation.privileges[1], config.kernel, parent)
        connection = rpc.Connection(reply_read, call_write)
        # Until this message the other process ran only our code, so its end would be our fault.
        kind, core = connection.receive()
        if kind != rpc.LOCKED:
            raise RuntimeError("the other process is not locked down")
        config.kernel.stay_on_core(int(core))
    except BaseException as error:  # noqa: BLE001  the runner reports any error
        os.write(results, f"{type(error).__name__}: {error}".encode())
        exit_now(1)
    status = 1
    try:
        os.write(results, b"\n")
        _score(config, data, results, connection)
        child.flush()
        status = 0
    finally:
        # Exit whatever was raised: a specification may break the reporting, too.
        exit_now(status)


def _score(config: IsolationConfig, data: bytes, results: int, connection: rpc.Connection) -> None:
    isolation, work = config.isolation, config.work
    program = Program(isolation.source, work.seed, isolation.code)
    evolved = rpc.RemoteFunctions(isolation.evolved, connection)
    evolved.record_dropped_errors()

    def load() -> Callable[..., Any]:
        function = program.load([work.run_function], {STUB: evolved.call})[0]
        evolved.await_ready()
        return function

    child.Report(results, program, draws=work.draws).run(
        load, [(data, None)], lambda: evolved.lost and evolved.lost.record
    )
