"""Load a program with the packages and files of its problem, seed its random generators, and describe its errors."""

from __future__ import annotations

import os
import random
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import asking, svg
from .notes import capped_text, head_and_tail, note_text

PACKAGES = "/overnight/packages"
"""Directory of the packages that the problem depends on."""

IMAGE_FILES = "/overnight/files"
"""Directory of the problem's own files in an image."""

FILES_VARIABLE = "OVERNIGHT_PROBLEM_FILES"
"""Environment variable with their directory where there is no image."""

FILES = os.environ.get(FILES_VARIABLE) or IMAGE_FILES

_METADATA_SUFFIX = ".dist-info"

FILE = "program.py"
"""File name of a program in tracebacks."""

_TEXT = 2000
"""Maximum length of a reported error text, characters."""


class Program:
    """A program to be loaded and called in this process.

    Args:
        source: Text of the program.
        seed: Seed of `random` and `numpy.random`.
        code: Compiled code to run instead of the compiled text; None to compile the text.
        note_chars: Maximum length of the notes on an input, characters.
        file: File name of the program in tracebacks.
        ask: `funsearch.ask`.
    """

    def __init__(
        self,
        source: str,
        seed: int,
        code: types.CodeType | None = None,
        note_chars: int = 0,
        file: str = FILE,
        ask: Callable[[str], str] = asking.refuse,
    ) -> None:
        self._source = source
        self._file = file
        self._code = code
        self._seed = seed
        self._note_chars = note_chars
        self._ask = ask
        self._notes = ""
        self.numpy = sys.modules.get("numpy")
        # Bound here, because an honest program may patch a library.
        self._seeds: list[Callable[[int], object]] = [random.seed]
        if self.numpy is not None:
            self._seeds.append(lambda seed, set_seed=self.numpy.random.seed: set_seed(seed % 2**32))

    def load(self, names: Sequence[str], given: Mapping[str, Any] | None = None) -> list[Callable[..., Any]]:
        """Run the program's top level and return some of its functions.

        Args:
            names: Names of the functions.
            given: Values to define in the program's namespace before it runs, by name.
        """
        self.reseed()
        program = types.ModuleType("program")
        # Registered, because dataclasses and pickle look up the module by name.
        sys.modules["program"] = program
        decorators = sys.modules["funsearch"] = _module(self.note, self._ask)
        sys.modules["funsearch.svg"] = svg
        program.__dict__["funsearch"] = decorators
        # As if the program were in the working directory, where the problem's files are.
        program.__dict__["__file__"] = os.path.abspath(FILE)
        if self.numpy is not None:
            program.__dict__["np"] = self.numpy
        program.__dict__.update(given or {})
        exec(self._code or self._compiled(), program.__dict__)
        functions = []
        for name in names:
            function = program.__dict__.get(name)
            if not callable(function):
                raise NameError(f"the program has no function {name!r}")
            functions.append(function)
        return functions

    def reseed(self, stream: int = 0) -> None:
        """Begin a stream of random numbers, by its number."""
        for set_seed in self._seeds:
            set_seed(self._seed + stream)

    def note(self, value: object) -> None:
        """Add a note on the input that is being scored: `funsearch.note`. Of long ones, head and tail are kept."""
        if not self._note_chars:  # the process of an evolved function, of which nobody asks for notes
            return
        text = note_text(value, self._note_chars)
        self._notes = head_and_tail(f"{self._notes}\n{text}" if self._notes else text, self._note_chars)

    def take_notes(self) -> str:
        """Return the notes since the last call."""
        notes, self._notes = self._notes, ""
        return notes

    def describe(self, error: BaseException) -> dict[str, Any]:
        """Return an error's type, its text, and the last of the program's own lines in its traceback."""
        if isinstance(error, SyntaxError) and error.filename == self._file:
            line = error.lineno
        else:
            line = _last_line(error, self._file)
        lines = self._source.splitlines()
        code = lines[line - 1].strip() if isinstance(line, int) and 0 < line <= len(lines) else ""
        message = error.msg if isinstance(error, SyntaxError) else error
        return {
            "type": capped_text(type(error).__name__, 100),
            "text": capped_text(message, _TEXT),
            "line": line,
            "code": code[:200],
        }

    def _compiled(self) -> types.CodeType:
        try:
            return compile(self._source, self._file, "exec", dont_inherit=True)
        except MemoryError:
            raise RecursionError("the program is nested too deeply to be compiled") from None


def _last_line(error: BaseException, file: str) -> int | None:
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _module(note: Callable[[object], None], ask: Callable[[str], str]) -> types.ModuleType:
    """Return a package `funsearch`: `svg`, `note`, `ask`, and decorators that do nothing, which the host reads."""
    module = types.ModuleType("funsearch")
    module.__path__ = []
    for name in ("run", "evolve", "draw", "inputs"):
        setattr(module, name, lambda function: function)
    module.__dict__.update(svg=svg, note=note, ask=ask)
    return module


def find_packages() -> dict[str, str]:
    """Make the packages importable, ahead of those of the base image, and return their versions by name.

    The directory is not a `site-packages`, so code that a package would run at every start of Python (`.pth` files)
    does not run.
    """
    if not os.path.isdir(PACKAGES):
        return {}
    positions = [position for position, path in enumerate(sys.path) if path.endswith("-packages")]
    sys.path.insert(positions[0] if positions else len(sys.path), PACKAGES)
    found = [
        name.removesuffix(_METADATA_SUFFIX).partition("-")
        for name in os.listdir(PACKAGES)
        if name.endswith(_METADATA_SUFFIX)
    ]
    return {name: version for name, _, version in sorted(found)}


def files() -> list[str]:
    """Return the top-level names of the problem's files; an empty list if it has none."""
    return sorted(os.listdir(FILES)) if os.path.isdir(FILES) else []


def enter_files() -> None:
    """Make the directory of the problem's files the working directory and the first entry of the module search path.

    Call it once everything that the runner needs is loaded, so that none of its own modules comes from there.
    """
    if files():
        os.chdir(FILES)
        sys.path.insert(0, FILES)
