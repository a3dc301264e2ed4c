"""The scoring of one input in a process of its own, beside the one that has the candidate's program."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from . import asking, call_check, child, command, own_process, rpc
from .job import STUB, Job
from .program import Program


def asker(asked: int, told: int) -> Callable[[str], str]:
    """Return `funsearch.ask` of a scoring that may have several threads."""
    lock = threading.Lock()

    def ask(prompt: str) -> str:
        """Return a model's answer to a prompt; see `asking.exchange`."""
        with lock:
            return asking.exchange(asked, told, prompt)

    return ask


def score_by_command(
    job: Job, source: bytes, data: bytes, results: int, connection: rpc.Connection, ends: Sequence[int]
) -> None:
    """Score a program on an input by the problem's command, and report it."""
    given = job.command
    assert given is not None

    def load() -> Callable[..., Any]:
        score = command.prepare(given, source, own_process.command_files(given, may_ask=bool(ends)), ends)
        own_process.open_to_asks()
        connection.send(rpc.READY, b"")
        return score

    child.Report(results, Program("", job.seed, note_chars=job.note_chars)).run(load, [(data, None)])


def score_by_function(
    job: Job, data: bytes, results: int, connection: rpc.Connection, ask: Callable[[str], str], memory: mmap.mmap
) -> None:
    """Score on an input by the specification's function, whose calls another process answers; report and record it."""
    isolation = job.isolation
    assert isolation is not None
    program = Program(isolation.source, job.seed, isolation.code, job.note_chars, ask=ask)
    record = call_check.CallRecord()
    evolved = rpc.RemoteFunctions(isolation.evolved, connection, record.add)
    evolved.record_dropped_errors()

    def load() -> Callable[..., Any]:
        function = program.load([job.run_function], {STUB: evolved.call})[0]
        evolved.await_ready()
        return function

    def finish() -> dict[str, Any] | None:
        record.write(memory)
        return evolved.lost and evolved.lost.record

    child.Report(results, program, draws=job.draws).run(load, [(data, None)], finish)


def check_calls(job: Job, record: bytes, results: int, connection: rpc.Connection, scoring_s: float) -> None:
    """Check recorded calls, and report what was found as a scoring reports its score."""
    isolation = job.isolation
    assert isolation is not None
    evolved = rpc.RemoteFunctions(isolation.evolved, connection)
    report = child.Report(results, Program("", job.seed))

    def go_on() -> None:
        os.write(results, b"\n")

    check = call_check.CallCheck(evolved, isolation.evolved, scoring_s, job.limits.wall_s, isolation.may_vary, go_on)
    try:
        evolved.await_ready()
        go_on()
        found = check.find_dependence(record)
        report.write_line({"depends": found} if found else {"checked": True})
    except rpc.EvolvedProcessLost as lost:
        report.write_line(lost.record)
    except rpc.EvolvedError as error:
        report.write_line({"error": error.description})
