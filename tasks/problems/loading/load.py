"""Load a problem from disk: find its format among the registered ones, and let that read it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from schemas.config_layers import merge
from schemas.errors import SpecificationError
from schemas.problem import Problem
from schemas.settings import parse_settings
from tasks.problems.loading.formats.directory import no_command
from tasks.problems.loading.problem_format import NamedProblem, ProblemFormat

MODULES = [
    "tasks.problems.loading.formats.directory",
    "tasks.problems.loading.formats.openevolve",
    "tasks.problems.loading.formats.shinka",
    "tasks.problems.loading.formats.specification",
]
"""Modules of the problem formats, each with a `FORMAT`. The first format that recognises a problem loads it."""


def load_problem(path: Path, overrides: Mapping[str, Any] | None = None) -> Problem:
    """Load a specification file or a directory, with its settings, inputs and files.

    Settings come from the problem's own files, such as the PEP 723 block of a specification, from `overnight.toml`
    beside them, from the user's configuration file, and from `overrides`; later ones override earlier ones.

    Args:
        path: Path of the specification file, or of the directory.
        overrides: Settings from the command line, nested as in TOML.

    Raises:
        SpecificationError: If the file is wrong or has no inputs, or no format recognises it.
        UsageError: If a setting is wrong.
    """
    named = NamedProblem(path, dict(overrides or {}))
    return find_format(named).load(named)


def formats() -> list[ProblemFormat]:
    """Return all problem formats, in the order in which they are asked."""
    return [import_module(module).FORMAT for module in MODULES]


def find_format(named: NamedProblem) -> ProblemFormat:
    """Return the format of a problem.

    Raises:
        SpecificationError: If no format recognises it.
        UsageError: If there is no such file, or it is not safe to read.
    """
    found = next((form for form in formats() if form.recognises(named)), None)
    if found is not None:
        return found
    if named.path.is_dir():
        parse_settings(merge([named.settings_file, named.flags]), f"{named.path.name}/overnight.toml")
        remedies = (form.explain_missing(named) for form in formats())
        raise no_command(named.path, next(filter(None, remedies), ""))
    raise SpecificationError(
        f"{named.path}: not a problem: expected a Python file with @funsearch.evolve and @funsearch.run",
        remedy="Name a specification, or a directory. `overnight init mine.py` writes a specification to begin with.",
    )


def added_files() -> set[str]:
    """Return the names of the files that formats add to those on disk."""
    return {name for form in formats() for name in form.added_files}


def is_of_another_tool(problem: Problem) -> bool:
    """Return whether the evaluator of another tool scores a problem's programs, called by a script that is added."""
    return not added_files().isdisjoint(problem.settings.command.evaluate)
