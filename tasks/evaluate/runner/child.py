"""The child: reads its program, gives up everything, runs it on every input, and reports one line for each.

Lines on the results pipe: an empty one when it is locked down, an empty one when the program is loaded, then one JSON
object for each input: `score`, or `error`, `not_a_number`, `out_of_memory`, which end the report. Whatever runs after
the first line is in the candidate's hand and believed by nobody: the host parses it as hostile text.
"""

from __future__ import annotations

import io
import json
import marshal
import os
import random
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from . import frames, lockdown

FILE = "program.py"
"""What a candidate's lines are filed under, in tracebacks."""

_TEXT = 2000
"""Characters of an error's text that are reported."""

_BITS = 1024
"""A whole number of more bits than this is no float, and JSON would not write it."""


@dataclass(frozen=True)
class Work:
    """What every child of a runner has to do; inherited, and the same for all.

    Attributes:
        run_function: Name of the function that scores one input.
        inputs: Arguments of each call, marshalled: each call gets fresh ones.
        seed: For `random` and `numpy.random`, before each input.
    """

    run_function: str
    inputs: tuple[bytes, ...]
    seed: int


def live(work: Work, cage: lockdown.Cage, ends: lockdown.Ends, length: int, kernel: lockdown.Kernel) -> NoReturn:
    """All of a child's life; never returns.

    Args:
        work: What to do.
        cage: What confines it.
        ends: Its ends of the pipes.
        length: Bytes of its program, which are next on standard input.
        kernel: Made and prepared before.
    """
    # Bound now: a candidate that replaces os._exit would fall back into the runner's loop.
    leave, parent = os._exit, os.getppid()
    results = ends.results
    try:
        os.setsid()
        source = frames.read_exactly(0, length).decode("utf-8", "surrogatepass")
        lockdown.own_descriptors(ends)
        results = lockdown.RESULTS
        lockdown.confine(cage, kernel, parent)
    except BaseException as error:  # noqa: BLE001  whatever it is, the runner must hear of it
        os.write(results, f"{type(error).__name__}: {error}".encode())
        leave(1)
    try:
        os.write(results, b"\n")
        _Run(work, source).report()
        _flush()
    except BaseException:  # noqa: BLE001  a candidate may break even the reporting of its error
        leave(1)
    leave(0)


class _Run:
    """One candidate, from its text to its last line.

    What a candidate could replace is bound here before it runs: not for safety, since it owns this process, but so
    that an honest one which patches a library still gets its score.
    """

    def __init__(self, work: Work, source: str) -> None:
        self._work = work
        self._source = source
        self._write: Callable[[int, bytes], int] = os.write
        self._dump: Callable[[Any], str] = json.dumps
        self._fresh: Callable[[bytes], Any] = marshal.loads
        self._numpy = sys.modules.get("numpy")
        self._seeds: list[Callable[[int], object]] = [random.seed]
        if self._numpy is not None:
            self._seeds.append(lambda seed, set_seed=self._numpy.random.seed: set_seed(seed % 2**32))

    def report(self) -> None:
        try:
            self._reseed()
            function = self._load()
            self._write(lockdown.RESULTS, b"\n")
            for data in self._work.inputs:
                args, kwargs = self._fresh(data)
                self._reseed()
                if not self._score(function(*args, **kwargs)):
                    return
        except MemoryError:
            self._write(lockdown.RESULTS, b'{"out_of_memory": true}\n')
        except BaseException as error:  # noqa: BLE001  a candidate may raise anything
            self._line({"error": self._describe(error)})

    def _load(self) -> Callable[..., Any]:
        program = types.ModuleType("program")
        # Registered: dataclasses and pickle look their module up.
        sys.modules["program"] = program
        decorators = sys.modules["funsearch"] = _decorators()
        program.__dict__["funsearch"] = decorators
        if self._numpy is not None:
            program.__dict__["np"] = self._numpy
        try:
            code = compile(self._source, FILE, "exec", dont_inherit=True)
        except MemoryError:
            raise RecursionError("the program is nested too deeply to be compiled") from None
        exec(code, program.__dict__)
        function = program.__dict__.get(self._work.run_function)
        if not callable(function):
            raise NameError(f"the program has no function {self._work.run_function!r}")
        return function

    def _reseed(self) -> None:
        for set_seed in self._seeds:
            set_seed(self._work.seed)

    def _score(self, value: Any) -> bool:
        """Reports one value; whether it was a number."""
        number = self._number(value)
        if number is None:
            self._line({"not_a_number": f"{_text(type(value).__name__, 100)} {_text(value, 200)}"})
            return False
        self._line({"score": number})
        return True

    def _number(self, value: Any) -> int | float | None:
        """The value as an exact int or float; None if it is no number, or a truth value."""
        if self._numpy is not None and isinstance(value, self._numpy.integer):
            value = int(value)
        elif self._numpy is not None and isinstance(value, self._numpy.floating):
            value = float(value)
        if type(value) is int:
            return value if value.bit_length() <= _BITS else None
        return value if type(value) is float else None

    def _line(self, record: dict[str, Any]) -> None:
        self._write(lockdown.RESULTS, (self._dump(record) + "\n").encode())

    def _describe(self, error: BaseException) -> dict[str, Any]:
        """Type, text and the last of the candidate's own lines that the error passed through."""
        line = error.lineno if isinstance(error, SyntaxError) and error.filename == FILE else _last_line(error)
        lines = self._source.splitlines()
        code = lines[line - 1].strip() if isinstance(line, int) and 0 < line <= len(lines) else ""
        text = error.msg if isinstance(error, SyntaxError) else error
        return {"type": _text(type(error).__name__, 100), "text": _text(text, _TEXT), "line": line, "code": code[:200]}


def _last_line(error: BaseException) -> int | None:
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _text(value: Any, width: int) -> str:
    """A candidate's object as capped text; its methods may raise."""
    try:
        return str(value)[:width]
    except BaseException:  # noqa: BLE001  str() runs the candidate's own code
        return ""


def _decorators() -> types.ModuleType:
    """The module `funsearch`, whose marks are for the host, which reads them without running anything."""
    module = types.ModuleType("funsearch")
    for name in ("run", "evolve"):
        setattr(module, name, lambda function: function)
    return module


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


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001  a candidate may have put anything there
            continue
