"""The formats that problems have on disk: each module here has a `FORMAT`, and `load.py` lists them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from overnight.schemas.errors import UsageError
from overnight.schemas.problem import Problem
from overnight.tasks.program import problem_folder
from overnight.tasks.program.bounded_parsing import parse_toml
from overnight.tasks.program.config_layers import merge


@dataclass(frozen=True)
class NamedProblem:
    """A problem as the user names it.

    Attributes:
        path: Path of a file or a directory, which need not exist.
        flags: Settings from the command line, nested as in TOML.
    """

    path: Path
    flags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder of the problem's files: the directory itself, or the one that the file is in."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def settings_file(self) -> Mapping[str, Any]:
        """Settings in the folder's `overnight.toml`; empty if there is none."""
        return _read_toml(self.folder / "overnight.toml")

    @cached_property
    def command(self) -> Mapping[str, Any]:
        """Settings of the command in `overnight.toml` and the flags; empty if they are not a table."""
        command = merge([self.settings_file, self.flags]).get("command")
        return command if isinstance(command, dict) else {}

    @property
    def program(self) -> str:
        """File that `command.program` names, the first of several; empty if it names none, or a pattern."""
        program = self.command.get("program")
        first = program[0] if isinstance(program, list | tuple) and program else program
        return first if isinstance(first, str) and not re.search(r"[*?[]", first) else ""


class ProblemFormat(ABC):
    """A form that problems have on disk.

    A problem may come from a stranger, so a format reads files by `problem_folder`, `bounded_parsing` and
    `python_source` of `tasks/program/`. It never imports or executes them. Settings that reach outside of the sandbox
    stay in the problem's settings, where the user is asked to accept them (`schemas/trust.py`).
    """

    @property
    def added_files(self) -> tuple[str, ...]:
        """Names of the files that are added to those on disk, such as a script that calls a tool's evaluator."""
        return ()

    @abstractmethod
    def recognises(self, named: NamedProblem) -> bool:
        """Return whether a problem has this format. Formats are asked in the order of `load.formats`.

        Raises:
            UsageError: If a file that decides this is not safe to read.
        """

    @abstractmethod
    def load(self, named: NamedProblem) -> Problem:
        """Load a problem of this format; its notes name what is in the files but not used.

        Raises:
            UsageError: If something is wrong in the files or in a setting.
        """

    def explain_missing(self, named: NamedProblem) -> str:  # noqa: ARG002
        """Return the remedy for a directory that looks like this format but is not recognised; else empty."""
        return ""


def _read_toml(settings: Path) -> dict[str, Any]:
    """Read a problem's settings file, `overnight.toml`; return no tables if there is no file."""
    if problem_folder.locate(settings.parent, settings.name) is None:
        return {}
    text = problem_folder.read_text(settings.parent, settings.name)
    try:
        return parse_toml(text)
    except ValueError as error:
        raise UsageError(f"{settings}: not valid TOML: {error}", remedy="Correct the file.") from error
