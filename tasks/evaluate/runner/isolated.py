"""Split evaluation: the evolved functions in one process, the specification that scores it in another.

For each input there are three new processes: a referee, which is the runner's own and watches, and its two children, of
a user each: one has the candidate's program and answers calls of its evolved functions, the other has the specification
with stand-ins for those functions. So nothing of a candidate outlives an input, and the runner, of whose memory every
process is a copy, never holds an input nor a word of a candidate: that is what `stores` are for.
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

STAND_IN = "__evolved__"
"""The name under which the specification finds what calls the evolved functions."""

GO_ON, DONE, HOST_GONE, FAULT = 0, 10, 11, 70
"""A referee's exit codes: the next input is due; the candidate was answered; nobody waits; the runner is broken."""

_LOADED = b"\n\n"
"""What a report begins with when the program was loaded."""

_SCORE = _LOADED + b'{"score": '
"""And when there is a score on its input."""


@dataclass(frozen=True)
class Isolation:
    """What a job says of its split evaluation.

    Attributes:
        evolved: Names of the evolved functions.
        source: The specification.
        code: The same, compiled, with stand-ins for the functions' bodies.
    """

    evolved: list[str]
    source: str
    code: types.CodeType


def read(job: dict[str, Any]) -> Isolation | None:
    isolation = job["apart"]
    return isolation and Isolation(
        isolation["evolved"], isolation["specification"], stub_module(isolation["specification"], isolation["evolved"])
    )


def stub_module(specification: str, evolved: Sequence[str]) -> types.CodeType:
    """The specification with its evolved functions handing on their arguments; lines and marks are kept."""
    tree = ast.parse(specification)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in evolved:
            number = evolved.index(node.name)
            header = ast.parse(f"def f(*args, **kwargs):\n return {STAND_IN}({number}, args, kwargs)").body[0]
            assert isinstance(header, ast.FunctionDef)
            node.args, node.body, node.returns = header.args, header.body, None
    return compile(tree, FILE, "exec", dont_inherit=True)


class MemoryFiles:
    """All that a candidate's processes share; made before the filter of system calls.

    Attributes:
        inputs: Written once.
        program: The candidate's, for the processes of every input.
        parts: What each input's referee saw: header, report and output.
    """

    def __init__(self) -> None:
        self.inputs, self.program, self.parts = (
            memory_files.MemoryFile(name) for name in ("inputs", "program", "parts")
        )


@dataclass(frozen=True)
class Candidate:
    """One candidate before one input.

    Attributes:
        number: Of the candidate's request.
        index: Of the input.
        inputs: How many there are.
        cages: Of the process of the evolved function, and of the one that scores.
    """

    number: int
    index: int
    inputs: int
    cages: tuple[lockdown.ChildPrivileges, lockdown.ChildPrivileges]


@dataclass(frozen=True)
class IsolationConfig:
    """What is the same for all candidates."""

    isolation: Isolation
    work: child.Work
    bounds: supervisor.ChildLimits
    cpu_s: float
    stores: MemoryFiles
    kernel: lockdown.Kernel


def supervise_evaluation(
    rules: IsolationConfig, match: Candidate, length: int, answer: Callable[..., None], parent: int
) -> NoReturn:
    """All of a referee's life: one input, then the answer to the host if it was the last.

    Args:
        rules: What is the same for all.
        match: What is not.
        length: Bytes of the program, which are next on standard input before the first input.
        answer: Sends frames to the host.
        parent: The runner.
    """
    status = FAULT
    try:
        status = _EvaluationSupervisor(rules, match, answer).judge(length, parent)
    except supervisor.HostGone:
        status = HOST_GONE
    except Exception as error:  # noqa: BLE001  nobody above raises it; the host reads this line
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


class _EvaluationSupervisor:
    def __init__(self, rules: IsolationConfig, match: Candidate, answer: Callable[..., None]) -> None:
        self._rules = rules
        self._match = match
        self._answer = answer
        self._group = cgroup.Cgroup()

    def judge(self, length: int, parent: int) -> int:
        self._rules.kernel.adopt_orphans()
        self._rules.kernel.die_with(parent)
        if self._match.index == 0:
            self._take_program(length)
        before = self._group.read()
        evolved, scorer, seen = self._start()
        try:
            seen.until_end()
        finally:
            usage = reap.end_all()
        ended = time.monotonic()
        seen.drain()
        counts = self._group.read().since(before)
        # For want of memory, the kernel may take the wrong one of the two: that is the candidate's doing all the same.
        if not seen.marks and not counts.memory_kills:
            raise RuntimeError(seen.early_end())
        header = supervisor.header(self._match.number, seen, usage, counts, scorer, ended)
        header |= {"evolved_status": usage.statuses[evolved]}
        return self._conclude(header, bytes(seen.results.view()), bytes(seen.output.view()))

    def _take_program(self, length: int) -> None:
        store = self._rules.stores.program
        store.clear()
        self._rules.stores.parts.clear()
        store.append(frames.read_exactly(0, length))

    def _start(self) -> tuple[int, int, supervisor.Supervisor]:
        """The two processes and the watch over them. The first is begun before the second has any descriptor."""
        output_end, output = os.pipe()
        asked, ask = os.pipe()
        told, tell = os.pipe()
        evolved = self._rules.kernel.fork()
        if evolved == 0:
            _live_evolved(self._rules, self._match.cages[0], output, (asked, tell))
        results_end, results = os.pipe()
        scorer = self._rules.kernel.fork()
        if scorer == 0:
            _live_scorer(self._rules, self._match, output, (results, told, ask))
        for descriptor in (output, asked, ask, told, tell, results):
            os.close(descriptor)
        seen = supervisor.Supervisor(
            scorer,
            results_end,
            output_end,
            self._bounds(),
            beside=[evolved],
            count_ran=lambda: self._group.read().cpu_s,
            tell_host=lambda: self._answer(b""),
        )
        return evolved, scorer, seen

    def _bounds(self) -> supervisor.ChildLimits:
        """What is left for this input: what a candidate may print is for all of them together."""
        bounds = self._rules.bounds
        printed = sum(map(len, memory_files.read_parts(self._rules.stores.parts)[2::3]))
        return supervisor.ChildLimits(bounds.wall_s, 1, bounds.output_bytes - printed, bounds.results_bytes)

    def _conclude(self, header: dict[str, Any], results: bytes, output: bytes) -> int:
        """Keeps what was seen; answers the host if there is nothing more to see."""
        parts, threshold = self._rules.stores.parts, self._rules.work.thresholds[self._match.index]
        goes_on = results.startswith(_SCORE) and not _falls_short(results, threshold)
        memory_files.write_parts(parts, json.dumps(header).encode(), results, output)
        header, results, output = _sum(memory_files.read_parts(parts))
        goes_on = goes_on and not header["broken"] and header["status"] == 0 and header["cpu_s"] <= self._rules.cpu_s
        if goes_on and self._match.index + 1 < self._match.inputs:
            return GO_ON
        self._answer(json.dumps(header).encode(), results, output)
        return DONE


def _falls_short(results: bytes, threshold: float | None) -> bool:
    """Whether the score of a report is below a threshold; the host looks again."""
    if threshold is None:
        return False
    try:
        return float(results.removeprefix(_SCORE).rstrip(b"}\n")) < threshold
    except ValueError:
        return False


def _sum(parts: list[bytes]) -> tuple[dict[str, Any], bytes, bytes]:
    """The parts of all inputs as those of one candidate; the last input's failure, if it is one, is the candidate's."""
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


def _live_evolved(
    rules: IsolationConfig, cage: lockdown.ChildPrivileges, output: int, ends: tuple[int, int]
) -> NoReturn:
    """The process that has the candidate's program. What it is told are the arguments of calls, and nothing else."""
    leave, parent = os._exit, os.getppid()
    status = 1
    try:
        os.setsid()
        source = rules.stores.program.read().decode("utf-8", "surrogatepass")
        line = rpc.Connection(*lockdown.own_descriptors(output, *ends))
        lockdown.confine(cage, rules.kernel, parent)
        line.send(rpc.LOCKED, b"")
        program = Program(source, rules.work.seed)
        _answer_calls(line, program, rules.isolation.evolved)
        child.flush()
        status = 0
    finally:
        # Whatever was raised: a candidate may break all that is here; the other side sees the end.
        leave(status)


def _answer_calls(line: rpc.Connection, program: Program, evolved: Sequence[str]) -> None:
    try:
        functions = program.load(evolved)
        program.reseed()
    except BaseException as error:  # noqa: BLE001  a candidate may raise anything
        line.send(*rpc.failure(error, program.describe))
        return
    line.send(rpc.READY, b"")
    rpc.answer(line, functions, program.describe)


def _live_scorer(rules: IsolationConfig, match: Candidate, output: int, ends: tuple[int, int, int]) -> NoReturn:
    """The process that has the specification, and the input. Nothing that a candidate wrote is ever run here."""
    leave, parent = os._exit, os.getppid()
    results = ends[0]
    try:
        os.setsid()
        data = memory_files.read_input(rules.stores.inputs, match.index)
        results, told, ask = lockdown.own_descriptors(output, *ends)
        lockdown.confine(match.cages[1], rules.kernel, parent)
        line = rpc.Connection(told, ask)
        # Until then it was ours, and its end is our fault.
        if line.receive()[0] != rpc.LOCKED:
            raise RuntimeError("the other process is not locked down")
    except BaseException as error:  # noqa: BLE001  whatever it is, the runner must hear of it
        os.write(results, f"{type(error).__name__}: {error}".encode())
        leave(1)
    status = 1
    try:
        os.write(results, b"\n")
        _score(rules, data, results, line)
        child.flush()
        status = 0
    finally:
        # A specification may break the reporting, too.
        leave(status)


def _score(rules: IsolationConfig, data: bytes, results: int, line: rpc.Connection) -> None:
    isolation, work = rules.isolation, rules.work
    program = Program(isolation.source, work.seed, isolation.code)
    evolved = rpc.RemoteFunctions(isolation.evolved, line)
    evolved.heed_the_unseen()

    def load() -> Callable[..., Any]:
        function = program.load([work.run_function], {STAND_IN: evolved.call})[0]
        evolved.await_ready()
        return function

    child.Report(results, program).make(load, [(data, None)], lambda: evolved.lost and evolved.lost.record)
