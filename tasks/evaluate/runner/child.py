"""Run one candidate: lock the process down, read the program, run it on every input, and report one line for each.

The child is forked before its program arrives, so that its preparation overlaps with the host's work. It writes these
lines to the results pipe: an empty one once it has its program, an empty one once the program is loaded, then one JSON
object for each input: `score` (or `drawing`, if the job draws), or `error`, `not_a_number`, `out_of_memory` or `gone`,
which end the report; beside these, `notes`, and beside a score `metrics`. After the first line the candidate controls
the process, so the host trusts none of it and parses it as hostile text.
"""

from __future__ import annotations

import io
import itertools
import json
import marshal
import os
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from . import command, frames, lockdown, notes, rpc, svg
from .job import Job
from .notes import capped_text
from .program import Program

_INTEGER_CODES, _FLOAT_CODES = "bhilqBHILQ", "efdg"
"""Type codes of numpy's numbers. Only these exact types count: a derived type may lie or be no number (numpy takes a
time span for an integer)."""

_BITS = 1024
"""Maximum bits of an integer score: a larger one does not fit into a float, and JSON would not write it."""


LENGTH = struct.Struct(">I")
"""Message on the `go` pipe that a child waits for: its program is next on standard input, and has this many bytes."""


def run_child(
    job: Job,
    privileges: lockdown.ChildPrivileges,
    kernel: lockdown.Kernel,
    *,
    results: int,
    output: int,
    go: int,
) -> NoReturn:
    """Run one candidate from lock-down to exit, in the child process; never return.

    Args:
        job: Job of the runner.
        privileges: Limits and user of the child.
        kernel: Prepared kernel interface of the runner.
        results: The child's end of the pipe for its report.
        output: The same for its output.
        go: The same of the pipe that tells it when to read its program.
    """
    # Bound now, because a candidate that replaces os._exit would otherwise return into the runner's loop.
    exit_now, parent = os._exit, os.getppid()
    try:
        os.setsid()
        results, stdin, go = lockdown.own_descriptors(output, results, 0, go)
        lockdown.confine(privileges, kernel, parent)
        (length,) = LENGTH.unpack(frames.read_exactly(go, LENGTH.size))
        source = frames.read_exactly(stdin, length)
        os.close(stdin)
        os.close(go)
    except BaseException as error:  # noqa: BLE001  the runner reports any error
        os.write(results, f"{type(error).__name__}: {error}".encode())
        exit_now(1)
    status = 1
    try:
        os.write(results, b"\n")
        program = Program(source.decode("utf-8", "surrogatepass"), job.seed, note_chars=job.note_chars)
        inputs = list(itertools.zip_longest(job.inputs, job.thresholds))
        Report(results, program, draws=job.draws).run(lambda: _scoring(job, program, source), inputs)
        flush()
        status = 0
    finally:
        # Exit whatever was raised: a candidate may break even the reporting of its error, and every name that handles
        # it.
        exit_now(status)


def _scoring(job: Job, program: Program, source: bytes) -> Callable[..., Any]:
    """Return the function that scores one input."""
    if job.command is not None:
        return command.prepare(job.command, source)
    return program.load([job.run_function])[0]


class Report:
    """Report of one program, from its loading to its last line.

    Functions that a candidate could replace are bound here before it runs: not for safety, since the candidate controls
    this process, but so that an honest one that patches a library still gets its score.

    Args:
        results: Descriptor of the results pipe.
        program: The program that runs.
        draws: Whether results are drawings, not scores.
    """

    def __init__(self, results: int, program: Program, *, draws: bool = False) -> None:
        self._results = results
        self._draws = draws
        self._program = program
        self._integer_types, self._float_types = (
            _numpy_types(program.numpy, codes) for codes in (_INTEGER_CODES, _FLOAT_CODES)
        )
        self._write: Callable[[int, bytes], int] = os.write
        self._to_json: Callable[[Any], str] = json.dumps
        self._unmarshal: Callable[[bytes], Any] = marshal.loads

    def run(
        self,
        load: Callable[[], Callable[..., Any]],
        inputs: Iterable[tuple[bytes, float | None]],
        lost: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> None:
        """Load the program, then score one input after the other, until one has no score or a score below its
        threshold.

        Stopping there only saves time: the host compares the scores with the thresholds itself.

        Args:
            load: Returns the function that scores.
            inputs: Arguments of each call, marshalled, and the threshold of its score.
            lost: Returns the record to report in place of a call's result, or None to report the result.
        """
        try:
            self._run_inputs(load, inputs, lost)
        except MemoryError:
            self.write_line(lost() or {"out_of_memory": True})
        except BaseException as error:  # noqa: BLE001  a candidate may raise anything
            self.write_line(self._with_notes(lost() or {"error": self._describe(error)}))

    def _describe(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, rpc.EvolvedError | command.CommandError):
            return error.description
        return self._program.describe(error)

    def write_line(self, record: dict[str, Any]) -> None:
        self._write(self._results, (self._to_json(record) + "\n").encode())

    def _run_inputs(
        self,
        load: Callable[[], Callable[..., Any]],
        inputs: Iterable[tuple[bytes, float | None]],
        lost: Callable[[], dict[str, Any] | None],
    ) -> None:
        function = load()
        self._write(self._results, b"\n")
        self._program.take_notes()
        for data, threshold in inputs:
            args, kwargs = self._unmarshal(data)
            self._program.reseed()
            record = self._record(function(*args, **kwargs))
            self.write_line(self._with_notes(lost() or record))
            if "score" not in record or (threshold is not None and record["score"] < threshold):
                return

    def _record(self, value: Any) -> dict[str, Any]:
        if self._draws:
            drawing = svg.drawing_text(value)
            return {"no_drawing": capped_text(type(value).__name__, 100)} if drawing is None else {"drawing": drawing}
        if isinstance(value, dict):
            return self._record_of_dict(dict(value))
        if isinstance(value, command.Found):
            self._program.note(value.notes)
            return self._scored(value.score, value.metrics)
        return self._scored(value, {})

    def _record_of_dict(self, found: dict[Any, Any]) -> dict[str, Any]:
        if (said := found.pop("notes", None)) is not None:
            self._program.note(said)
        if "score" not in found:
            return {"not_a_number": f"a dict without 'score': {capped_text(list(found), 200)}"}
        score, names = found.pop("score"), list(found)
        if len(found) > notes.MOST_METRICS:
            return {"not_a_number": f"a dict of {len(found)} metrics, of which there may be {notes.MOST_METRICS}"}
        wrong = [one for one in names if not (isinstance(one, str) and notes.METRIC_NAME.fullmatch(one))]
        if wrong:
            return {"not_a_number": f"a dict with a metric of the name {capped_text(repr(wrong[0]), 100)}"}
        return self._scored(score, found)

    def _scored(self, score: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return the record of a score and of metrics, of which each has to be a finite number."""
        number = self._number(score)
        if number is None:
            return {"not_a_number": _described(score)}
        numbers = {name: self._number(value) for name, value in metrics.items()}
        for name, one in numbers.items():
            if one is None or not notes.is_finite(one):
                return {"not_a_number": _described(metrics[name]), "metric": name}
            numbers[name] = float(one)
        return {"score": number} | ({"metrics": numbers} if numbers else {})

    def _with_notes(self, record: dict[str, Any]) -> dict[str, Any]:
        said = self._program.take_notes()
        return record | {"notes": said} if said and not self._draws else record

    def _number(self, value: Any) -> int | float | None:
        """Return the value as an exact int or float; None if it is not a number, or is a bool."""
        if type(value) in self._integer_types:
            value = int(value)
        elif type(value) in self._float_types:
            value = float(value)
        if type(value) is int:
            return value if value.bit_length() <= _BITS else None
        return value if type(value) is float else None


def _described(value: Any) -> str:
    return f"{capped_text(type(value).__name__, 100)} {capped_text(value, 200)}"


def _numpy_types(numpy: Any, codes: str) -> frozenset[type]:
    return frozenset(numpy.dtype(code).type for code in codes) if numpy is not None else frozenset()


def print_by_line() -> None:
    """Make all later children flush their output after each line, so that output before a time-out is kept.

    Text that UTF-8 cannot encode is escaped and raises no error.
    """
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        raw = io.FileIO(descriptor, "w", closefd=False)
        buffer = io.BufferedWriter(raw)
        stream = io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001  a candidate may have replaced the stream
            continue
