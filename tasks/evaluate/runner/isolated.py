"""Judge by isolated evaluation: the evolved functions run in one process, the specification that scores in another.

For each input there are three new processes: a supervisor, which runs only the runner's code, and its two children,
each with its own user. One child has the candidate's program and answers calls of its evolved functions; the other has
the specification, with stubs in place of those functions. So no state of a candidate outlives an input. Where answers
must depend on the arguments of a call alone, three further processes repeat calls: see `call_check`.

A child inherits all of the runner's memory, and a candidate can read all memory of its process. So the runner never
holds an input or any data of a candidate: these are in files in memory, of which it holds the descriptors only.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from . import asking, call_check, child, frames, lockdown, own_process, processes, rpc, scoring, supervisor
from .job import Job
from .program import Program
from .shared_files import SharedFiles

NEXT_INPUT, ANSWERED, HOST_GONE, UNCHECKED, FAILED = 0, 10, 11, 12, 70
"""Exit codes of a supervisor process: the next input is due; the host has been answered; the host is gone; the calls on
the input are to be checked; the runner failed."""

_GOES_ON = 75
"""Exit code of a process that has answered its calls, where another is to answer the next ones."""

_LOADED = b"\n\n"
"""Start of a report if the program was loaded."""

_SCORE = _LOADED + b'{"score": '
"""Start of a report if there is a score on its input."""

_CHECKED = _LOADED + b'{"checked": '
"""Start of the report of a check that found nothing, without the lines by which it tells that calls go on."""

_CALL_LIMITS = 2.1
"""Limit of a single call in a check, as a multiple of the limit of an input, which all its calls had together: twice,
and the time from one line to the next by which a check tells that calls go on."""

_MANY = 10**6
"""Maximum number of lines by which a check tells that calls go on, and factor on its processor time: each call is
limited by its own time."""


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of one candidate on one input, in a supervisor process.

    Attributes:
        job: Job of the runner.
        kernel: Prepared kernel interface of the runner.
        files: Data that the processes of a candidate share.
        cgroup: Reader of the container's counters.
        answer: Sends frames to the host.
        number: Number of the candidate's request.
        index: 0-based index of the input.
        privileges: Limits and users of the process of the evolved functions, and of the scoring process.
        checks: Whether the calls of the input are checked, which has been scored before.
    """

    job: Job
    kernel: lockdown.Kernel
    files: SharedFiles
    cgroup: processes.Cgroup
    answer: Callable[..., None]
    number: int
    index: int
    privileges: tuple[lockdown.ChildPrivileges, lockdown.ChildPrivileges]
    checks: bool = False

    def supervise(self, length: int, parent: int) -> NoReturn:
        """Evaluate one input, answer the host if it was the last one, and exit.

        Args:
            length: Length of the program, bytes; it is next on standard input before the first input.
            parent: Process id of the runner.
        """
        status = FAILED
        try:
            self.kernel.adopt_orphans()
            self.kernel.die_with(parent)
            if self.index == 0 and not self.checks:
                self._receive_program(length)
            child_supervisor = self._start()
            header = child_supervisor.run(self.number)
            results, output = bytes(child_supervisor.results.view()), bytes(child_supervisor.output.view())
            status = self._finish_check(header, results) if self.checks else self._finish(header, results, output)
        except supervisor.HostGone:
            status = HOST_GONE
        except Exception as error:  # noqa: BLE001  the process exits here; the host reads this line
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(status)

    def _receive_program(self, length: int) -> None:
        self.files.program.clear()
        self.files.parts.clear()
        self.files.program.append(frames.read_exactly(0, length))

    def _start(self) -> supervisor.Supervisor:
        """Start the two processes and their supervisor; the first is forked before the second's results pipe exists."""
        output_end, output = os.pipe()
        if self.checks:  # what calls print was counted when they were scored
            os.close(output)
            output = os.open(os.devnull, os.O_WRONLY)
        call_read, call_write = os.pipe()
        reply_read, reply_write = os.pipe()
        evolved = self.kernel.fork()
        if evolved == 0:
            self._run_evolved(output, call_read, reply_write)
        results_end, results = os.pipe()
        asked, ask = os.pipe() if self.job.asks else (-1, -1)
        told, tell = os.pipe() if self.job.asks else (-1, -1)
        own = (ask, told) if self.job.asks else ()
        scorer = self.kernel.fork()
        if scorer == 0:
            self._run_scorer(output, results, reply_read, call_write, *own)
        for descriptor in (output, call_read, call_write, reply_read, reply_write, results, *own):
            os.close(descriptor)
        questions = supervisor.Questions(asked, tell, self._exchange) if self.job.asks else None
        # The output limit holds for all inputs together.
        printed = sum(map(len, self.files.read_parts()[2::3]))
        limits = replace(self.job.limits, inputs=1, output_bytes=self.job.limits.output_bytes - printed)
        if self.checks:
            limits = replace(limits, inputs=_MANY, wall_s=_CALL_LIMITS * limits.wall_s)
        return supervisor.Supervisor(
            (scorer, evolved), results_end, output_end, limits, self.cgroup, lambda: self.answer(b""), questions
        )

    def _exchange(self, question: bytes) -> bytes:
        """Return the host's reply to a question, of which nothing comes from the candidate's process."""
        text = json.loads(question)
        if type(text) is not str:
            raise ValueError("a question is text")
        self.answer(json.dumps({"question": text, "input": self.index + 1}).encode())
        try:
            return frames.read_frame(0)
        except EOFError:
            raise supervisor.HostGone from None

    def _finish(self, header: dict[str, Any], results: bytes, output: bytes) -> int:
        """Finish this input, unless its calls are to be checked first."""
        isolation, is_whole = self.job.isolation, not header["broken"] and header["status"] == 0
        if isolation is None or not is_whole or not results.startswith(_SCORE):
            return self._finish_input(header, results, output)
        calls = call_check.count_calls(self._read_calls())
        header["calls"] = [calls]
        if not isolation.checks_calls or calls <= 1:  # which depends on no other
            return self._finish_input(header, results, output)
        self.files.unchecked.clear()
        for part in (json.dumps(header).encode(), results, output):
            self.files.unchecked.append(frames.frame(part))
        return UNCHECKED

    def _finish_check(self, checked: dict[str, Any], results: bytes) -> int:
        """Finish this input as it was scored, or as its check has ended if that has found something.

        The processor time of a check is not the candidate's.
        """
        self.files.calls.clear()
        scored, score, output = self.files.take_unchecked()
        header = json.loads(scored)
        used = {
            "wall_s": header["wall_s"] + checked["wall_s"],
            "peak_mib": max(header["peak_mib"], checked["peak_mib"]),
            "memory_kills": header["memory_kills"] + checked["memory_kills"],
        }
        if results.startswith(_LOADED):
            results = _LOADED + results.lstrip(b"\n")
        if results.startswith(_CHECKED) and not checked["broken"] and checked["status"] == 0:
            return self._finish_input(header | used, score, output)
        ended = {name: checked[name] for name in ("broken", "status", "evolved_status", "starved_s", "loaded")}
        unfinished = {"input_wall_s": [], "calls": [], "checks": True}
        return self._finish_input(header | used | ended | unfinished, results, output)

    def _finish_input(self, header: dict[str, Any], results: bytes, output: bytes) -> int:
        """Store the results of this input; answer the host if no further input is to be evaluated."""
        continues = results.startswith(_SCORE) and not _falls_short(results, self.job.thresholds[self.index])
        for part in (json.dumps(header).encode(), results, output):
            self.files.parts.append(frames.frame(part))
        header, results, output = _merge(self.files.read_parts())
        continues = continues and not header["broken"] and header["status"] == 0 and header["cpu_s"] <= self.job.cpu_s
        if continues and self.index + 1 < self.job.limits.inputs:
            return NEXT_INPUT
        self.answer(json.dumps(header).encode(), results, output)
        return ANSWERED

    def _run_evolved(self, output: int, *ends: int) -> NoReturn:
        """Run the process that has the candidate's program. It receives the arguments of calls and nothing else."""
        exit_now, parent = os._exit, os.getppid()
        status = 1
        try:
            os.setsid()
            source: bytes | str = self.files.program.read()
            if self.job.command is None:
                source = source.decode("utf-8", "surrogatepass")
            connection = rpc.Connection(*lockdown.own_descriptors(output, *ends))
            lockdown.confine(self._evolved_privileges(), self.kernel, parent)
            if isinstance(source, bytes):
                connection.send(rpc.LOCKED, b"")
                connection.receive()  # until the command's side is ready to ask
                own_process.Server(self.job, self.kernel, source).serve()
                status = 0
            else:
                connection.send(rpc.LOCKED, str(self.kernel.stay_on_core()).encode())
                status = self._answer_calls(connection, Program(source, self.job.seed))
                child.flush()
        finally:
            # Exit whatever was raised: a candidate may break everything here; the other process sees the end of the
            # pipe.
            exit_now(status)

    def _run_scorer(self, output: int, results: int, *ends: int) -> NoReturn:
        """Run the process that has the specification and the input. No code of a candidate ever runs here."""
        exit_now, parent = os._exit, os.getppid()
        try:
            os.setsid()
            data, source = self.files.read_input(self.index), self.files.program.read() if self.job.command else b""
            record, scoring_s = (self._read_calls(), self._scoring_s()) if self.checks else (b"", 0.0)
            memory = None if self.job.command or self.checks else self.files.calls.map(call_check.SIZE)
            results, reply_read, call_write, *own = lockdown.own_descriptors(output, results, *ends)
            lockdown.confine(self._scorer_privileges(memory), self.kernel, parent)
            connection = rpc.Connection(reply_read, call_write)
            # Until this message the other process ran only our code, so its end would be our fault.
            kind, core = connection.receive()
            if kind != rpc.LOCKED:
                raise RuntimeError("the other process is not locked down")
            if core:
                self.kernel.stay_on_core(int(core))
        except BaseException as error:  # noqa: BLE001  the runner reports any error
            os.write(results, f"{type(error).__name__}: {error}".encode())
            exit_now(1)
        status = 1
        try:
            os.write(results, b"\n")
            if self.job.command is not None:
                scoring.score_by_command(self.job, source, data, results, connection, own)
            elif memory is None:
                scoring.check_calls(self.job, record, results, connection, scoring_s)
            else:
                ask = scoring.asker(*own) if own else asking.refuse
                scoring.score_by_function(self.job, data, results, connection, ask, memory)
            child.flush()
            status = 0
        finally:
            # Exit whatever was raised: a specification may break the reporting, too.
            exit_now(status)

    def _evolved_privileges(self) -> lockdown.ChildPrivileges:
        """Return the privileges of the process of the evolved functions; in a check, each call has its own time."""
        privileges = self.privileges[0]
        return replace(privileges, cpu_s=_MANY * privileges.cpu_s) if self.checks else privileges

    def _scorer_privileges(self, memory: mmap.mmap | None) -> lockdown.ChildPrivileges:
        """Return the privileges of the scoring process, whose record of calls takes no address space of its own."""
        privileges = self.privileges[1]
        if memory is None or privileges.address_space is None:
            return privileges
        return replace(privileges, address_space=privileges.address_space + len(memory))

    def _read_calls(self) -> bytes:
        return call_check.read_record(self.files.calls.read)

    def _scoring_s(self) -> float:
        """Return the time that the scoring of the input that is being checked took, seconds."""
        (length,) = frames.LENGTH.unpack(self.files.unchecked.read(0, frames.LENGTH.size))
        header = json.loads(self.files.unchecked.read(frames.LENGTH.size, length))
        return float(header["input_wall_s"][0])

    def _answer_calls(self, connection: rpc.Connection, program: Program) -> int:
        """Load the program, and answer calls until the scoring ends; return an exit code."""
        isolation = self.job.isolation
        assert isolation is not None
        try:
            functions = program.load(isolation.evolved)
            program.reseed()
        except BaseException as error:  # noqa: BLE001  a candidate may raise anything
            connection.send(*rpc.encode_error(error, program.describe))
            return 0
        if self.checks:
            return self._answer_in_new_processes(connection, program, functions)
        connection.send(rpc.READY, b"")
        rpc.serve_calls(connection, functions, program.describe)
        return 0

    def _answer_in_new_processes(
        self, connection: rpc.Connection, program: Program, functions: Sequence[Callable[..., Any]]
    ) -> int:
        """Answer calls in a process that has answered none before, each time one is wanted; return an exit code."""
        while True:
            pid = self.kernel.fork()
            if pid == 0:
                program.reseed()
                connection.send(rpc.READY, b"")
                goes_on = rpc.serve_calls(connection, functions, program.describe)
                child.flush()
                return _GOES_ON if goes_on else 0
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status < 0:
                os.kill(os.getpid(), -status)
            if status != _GOES_ON:
                return status


def _falls_short(results: bytes, threshold: float | None) -> bool:
    """Return whether the score of a report is below a threshold; the host checks again."""
    if threshold is None:
        return False
    try:
        return float(results.removeprefix(_SCORE).partition(b",")[0].rstrip(b"}\n")) < threshold
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
        "calls": [calls for header in headers for calls in header.get("calls", ())],
        "memory_kills": sum(header["memory_kills"] for header in headers),
    }
    *before, last = parts[1::3]
    if last.startswith(_LOADED):
        last = b"".join([_LOADED, *(part.removeprefix(_LOADED) for part in before), last.removeprefix(_LOADED)])
    return whole, last, b"".join(parts[2::3])
