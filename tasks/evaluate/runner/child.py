"""The child: gives up everything, reads its program, runs it on every input, and reports one line for each.

It is made before its program comes, so that the host's way to the next program and its own making take one time. Lines
on the results pipe: an empty one when it has its program, an empty one when the program is loaded, then one JSON
object for each input: `score`, or `error`, `not_a_number`, `out_of_memory`, `gone`, which end the report. Whatever runs
after the first line is in the candidate's hand and believed by nobody: the host parses it as hostile text.
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
from dataclasses import dataclass
from typing import Any, NoReturn

from . import command, frames, lockdown, rpc
from .program import Program, text

_WHOLE, _REAL = "bhilqBHILQ", "efdg"
"""Codes of numpy's numbers. What is derived from them may lie, or be none: a time span is a whole number to numpy."""

_BITS = 1024
"""A whole number of more bits than this is no float, and JSON would not write it."""


@dataclass(frozen=True)
class Work:
    """What every child of a runner has to do; inherited, and the same for all.

    Attributes:
        run_function: Name of the function that scores one input.
        inputs: Arguments of each call, marshalled: each call gets fresh ones.
        seed: For `random` and `numpy.random`, before each input.
        thresholds: For each input in order the score below which the rest is skipped; None where there is none.
        command: Set where the program is a file that a command scores.
    """

    run_function: str
    inputs: tuple[bytes, ...]
    seed: int
    thresholds: tuple[float | None, ...]
    command: command.Command | None = None


LENGTH = struct.Struct(">I")
"""What a child waits for: that its program is next on standard input, and so many bytes long."""


def live(
    work: Work, cage: lockdown.ChildPrivileges, ends: lockdown.ParentDescriptors, kernel: lockdown.Kernel
) -> NoReturn:
    """All of a child's life; never returns.

    Args:
        work: What to do.
        cage: What confines it.
        ends: Its ends of the pipes.
        kernel: Made and prepared before.
    """
    # Bound now: a candidate that replaces os._exit would fall back into the runner's loop.
    leave, parent = os._exit, os.getppid()
    results = ends.results
    try:
        os.setsid()
        results, stdin, go = lockdown.own_descriptors(ends.output, ends.results, 0, ends.go)
        lockdown.confine(cage, kernel, parent)
        (length,) = LENGTH.unpack(frames.read_exactly(go, LENGTH.size))
        source = frames.read_exactly(stdin, length)
        os.close(stdin)
        os.close(go)
    except BaseException as error:  # noqa: BLE001  whatever it is, the runner must hear of it
        os.write(results, f"{type(error).__name__}: {error}".encode())
        leave(1)
    status = 1
    try:
        os.write(results, b"\n")
        program = Program(source.decode("utf-8", "surrogatepass"), work.seed)
        inputs = list(itertools.zip_longest(work.inputs, work.thresholds))
        Report(results, program).make(lambda: _scoring(work, program, source), inputs)
        flush()
        status = 0
    finally:
        # Whatever was raised: a candidate may break even the reporting of its error, and all names that handle it.
        leave(status)


def _scoring(work: Work, program: Program, source: bytes) -> Callable[..., Any]:
    """The function that scores one input."""
    if work.command is not None:
        return command.prepare(work.command, source)
    return program.load([work.run_function])[0]


class Report:
    """One program's report, from its loading to its last line.

    What a candidate could replace is bound here before it runs: not for safety, since it owns this process, but so
    that an honest one which patches a library still gets its score.

    Args:
        results: The descriptor to write to.
        program: What runs.
    """

    def __init__(self, results: int, program: Program) -> None:
        self._results = results
        self._program = program
        self._whole, self._real = (_numpy_types(program.numpy, codes) for codes in (_WHOLE, _REAL))
        self._write: Callable[[int, bytes], int] = os.write
        self._dump: Callable[[Any], str] = json.dumps
        self._fresh: Callable[[bytes], Any] = marshal.loads

    def make(
        self,
        load: Callable[[], Callable[..., Any]],
        inputs: Iterable[tuple[bytes, float | None]],
        lost: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> None:
        """Loads, then scores one input after the other, until one has no score or one below its threshold.

        To stop there saves time, and that is all: the host itself compares the scores with the thresholds.

        Args:
            load: Gives the function that scores.
            inputs: Arguments of each call, marshalled, and its threshold.
            lost: A record that counts in place of whatever came of a call.
        """
        try:
            self._make(load, inputs, lost)
        except MemoryError:
            self.line(lost() or {"out_of_memory": True})
        except BaseException as error:  # noqa: BLE001  a candidate may raise anything
            self.line(lost() or {"error": self._describe(error)})

    def _describe(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, rpc.EvolvedError | command.CommandError):
            return error.description
        return self._program.describe(error)

    def line(self, record: dict[str, Any]) -> None:
        self._write(self._results, (self._dump(record) + "\n").encode())

    def _make(
        self,
        load: Callable[[], Callable[..., Any]],
        inputs: Iterable[tuple[bytes, float | None]],
        lost: Callable[[], dict[str, Any] | None],
    ) -> None:
        function = load()
        self._write(self._results, b"\n")
        for data, threshold in inputs:
            args, kwargs = self._fresh(data)
            self._program.reseed()
            record = self._record(function(*args, **kwargs))
            self.line(lost() or record)
            if "score" not in record or (threshold is not None and record["score"] < threshold):
                return

    def _record(self, value: Any) -> dict[str, Any]:
        number = self._number(value)
        if number is None:
            return {"not_a_number": f"{text(type(value).__name__, 100)} {text(value, 200)}"}
        return {"score": number}

    def _number(self, value: Any) -> int | float | None:
        """The value as an exact int or float; None if it is no number, or a truth value."""
        if type(value) in self._whole:
            value = int(value)
        elif type(value) in self._real:
            value = float(value)
        if type(value) is int:
            return value if value.bit_length() <= _BITS else None
        return value if type(value) is float else None


def _numpy_types(numpy: Any, codes: str) -> frozenset[type]:
    return frozenset(numpy.dtype(code).type for code in codes) if numpy is not None else frozenset()


def print_by_line() -> None:
    """Makes all later children print by line, so that what was printed before a time-out is known.

    Text that UTF-8 cannot hold is no error.
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
        except BaseException:  # noqa: BLE001  a candidate may have put anything there
            continue
