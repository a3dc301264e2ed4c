"""Load a problem from disk: find its format, ours or one of a plug-in, and let that read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overnight.schemas import plugins
from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.problem import Problem
from overnight.schemas.settings import parse_settings
from overnight.tasks.problems.loading.formats import (
    NamedProblem,
    ProblemFormat,
    algotune,
    directory,
    frontier_cs,
    openevolve,
    shinka,
    skydiscover,
    specification_file,
)
from overnight.tasks.program import problem_folder
from overnight.tasks.program.config_layers import merge
from overnight.tasks.program.user_config import config_path, user_problem_formats

OURS: dict[str, ProblemFormat] = {
    "algotune": algotune.FORMAT,
    "directory": directory.FORMAT,
    "frontier_cs": frontier_cs.FORMAT,
    "openevolve": openevolve.FORMAT,
    "shinka": shinka.FORMAT,
    "skydiscover": skydiscover.FORMAT,
    "specification_file": specification_file.FORMAT,
}
"""The formats that come with Overnight, in the order in which they are asked."""

_MAX_NAMED, _MAX_VISITED = 12, 500
"""Numbers of problems that an error names, and of entries of a folder that are looked at for them."""


def load_problem(path: Path, overrides: Mapping[str, Any] | None = None) -> Problem:
    """Load a specification file or a directory, with its settings, inputs and files.

    Settings come from the problem's own files, such as the PEP 723 block of a specification, from `overnight.toml`
    beside them, from the user's configuration file, and from `overrides`; later ones override earlier ones.

    Raises:
        SpecificationError: If the file is wrong or has no inputs, or no format recognises it.
        UsageError: If a setting is wrong.
    """
    named = NamedProblem(path, dict(overrides or {}))
    return find_format(named).load(named)


def formats() -> list[ProblemFormat]:
    """Return all problem formats: ours, and those of plug-ins that the user's configuration file names.

    The first format that recognises a problem loads it.

    Raises:
        UsageError: If the configuration file names a format that no package has.
        EnvironmentFault: If a plug-in cannot be loaded.
    """
    return [*OURS.values(), *(_format_of_plugin(name) for name in user_problem_formats() if name not in OURS)]


def _format_of_plugin(name: str) -> ProblemFormat:
    plugin = plugins.find("problem_formats", name)
    if plugin is None:
        known = ", ".join(plugins.names("problem_formats")) or "none, as no installed package has one"
        raise UsageError(
            f"{config_path()}: plugins.problem_formats: expected one of {known}; got {name!r}",
            remedy="Install the package that has this format beside Overnight, or remove its name there.",
        )
    return plugin.load("FORMAT")


def find_format(named: NamedProblem) -> ProblemFormat:
    """Return the format of a problem.

    Raises:
        SpecificationError: If no format recognises it.
        UsageError: If there is no such file, or it is not safe to read.
    """
    known = formats()
    found = next((form for form in known if form.recognises(named)), None)
    if found is not None:
        return found
    if named.path.is_dir():
        parse_settings(merge([named.settings_file, named.flags]), f"{named.path.resolve().name}/overnight.toml")
        remedy = next(filter(None, (form.explain_missing(named) for form in known)), "")
        if not remedy and (below := _problems_below(named.path, known)):
            more = ", …" if len(below) > _MAX_NAMED else ""
            raise SpecificationError(
                f"{named.path}: not a problem, but a folder of {len(below)}",
                remedy=f"Name one of them: {', '.join(map(str, below[:_MAX_NAMED]))}{more}",
            )
        raise directory.no_command(named.path, remedy)
    raise SpecificationError(
        f"{named.path}: not a problem: expected a Python file with @funsearch.evolve and @funsearch.run",
        remedy="Name a specification, or a directory. `overnight init mine.py` writes a specification to begin with.",
    )


def _problems_below(folder: Path, known: list[ProblemFormat]) -> list[Path]:
    """Return the directories in a folder, and in its folders, that are problems."""
    found: list[Path] = []
    for pattern in ("*", "*/*"):
        try:
            paths = problem_folder.matching(folder, pattern)
        except SpecificationError:  # a link leads elsewhere, or there are too many: there is no hint then
            return found
        found += [path for path in paths[:_MAX_VISITED] if path.is_dir() and _is_problem(path, known)]
    return found


def _is_problem(folder: Path, known: list[ProblemFormat]) -> bool:
    named = NamedProblem(folder)
    try:
        return any(form.recognises(named) for form in known)
    except UsageError:
        return False


def added_files() -> set[str]:
    """Return the names of the files that formats add to those on disk."""
    return {name for form in formats() for name in form.added_files}


def is_of_another_tool(problem: Problem) -> bool:
    """Return whether the evaluator of another tool scores a problem's programs, called by a script that is added."""
    return not added_files().isdisjoint(problem.settings.command.evaluate)
