"""Read a problem that is a directory: evolving files, a command that scores them, and settings in `overnight.toml`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from schemas import problem_folder
from schemas.bundle import ProgramBundle
from schemas.errors import SpecificationError
from schemas.evolving_files import read_evolving_files
from schemas.marked_file import END, START, read_marked
from schemas.problem import require_name
from schemas.settings import Command, Settings
from schemas.skeleton import Skeleton
from tasks.problems.loading.formats import missing_program_remedy

DEFAULTS: dict[str, Any] = {"inputs": [None], "limits": {"scratch_mib": 64}}
"""Defaults that differ from those of a specification: a command may have no input, and its program is a file."""


def read_program(directory: Path, settings: Settings) -> tuple[Skeleton, Settings]:
    """Read the evolving files; return them, and the settings with their names and the command's files.

    Raises:
        SpecificationError: If there is no command, or a file is missing or wrong.
    """
    command = settings.command
    if not command.evaluate:
        raise SpecificationError(
            f"{directory}: no command that scores a program",
            remedy=missing_program_remedy(directory)
            or _specifications_remedy(directory)
            or 'Write `command.evaluate = ["python3", "evaluate.py", "{program}"]` into its overnight.toml; the '
            'command prints metrics as JSON, like {"score": 1.5}.',
        )
    skeleton, program = _read_skeleton(directory, command)
    command = command.model_copy(update={"program": program})
    # Files that the command names are part of the problem without being listed.
    others = [part for part in command.evaluate if part not in command.evolving_paths]
    files = dict.fromkeys([*settings.files, *(part for part in others if problem_folder.has_file(directory, part))])
    score_name = settings.score_name if "score_name" in settings.model_fields_set else command.metric
    return skeleton, settings.model_copy(update={"command": command, "files": tuple(files), "score_name": score_name})


def _read_skeleton(directory: Path, command: Command) -> tuple[Skeleton, str | tuple[str, ...]]:
    """Return the skeleton of a directory, and the setting that restores it: the file's name, or all paths."""
    if not isinstance(command.program, str):
        names = _matching_names(directory, command.program)
        if len(names) > 1 or any("/" in name for name in names):
            files = tuple((name, problem_folder.read_text(directory, name)) for name in names)
            return read_evolving_files(ProgramBundle(files)), names
        given = "".join(names)
    else:
        given = command.program
    name = given or _marked_file_name(directory)
    require_name(name, str(directory))
    file = read_marked(problem_folder.read_text(directory, name), name)
    if not file.has_marks and not given:
        raise SpecificationError(f"{directory / name}: no marks", remedy=_MARKS)
    return file, name


def _matching_names(directory: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of the files that patterns name, in the order of the patterns, each once.

    Raises:
        SpecificationError: If a pattern names nothing, or something outside of the directory.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        names = [pattern] if "\0" in pattern or not re.search(r"[*?[]", pattern) else _glob(directory, pattern)
        names = [name for name in names if problem_folder.locate(directory, name) is not None]
        if not names:
            raise SpecificationError(
                f"command.program: no file {pattern!r} in {directory}",
                remedy="It names files, or patterns of files such as lib/*.py, relative to the directory.",
            )
        found |= dict.fromkeys(PurePath(name).as_posix() for name in names)
    return tuple(found)


def _glob(directory: Path, pattern: str) -> list[str]:
    """Return the paths that match a pattern, without compiled Python."""
    parts = PurePath(pattern).parts
    if PurePath(pattern).is_absolute() or ".." in parts:
        raise SpecificationError(
            f"command.program: {pattern!r} is not below {directory}", remedy="Copy the files into the directory."
        )
    names = [path.relative_to(directory).as_posix() for path in problem_folder.matching(directory, pattern)]
    return [name for name in names if name != "." and "__pycache__" not in PurePath(name).parts]


def first_name(program: Any) -> str:
    """Return the file that `command.program` names first, before the settings are parsed; empty if it is a pattern."""
    first = program[0] if isinstance(program, list | tuple) and program else program
    return first if isinstance(first, str) and not re.search(r"[*?[]", first) else ""


def _specifications_remedy(directory: Path) -> str:
    """Return the remedy for a folder of specifications; empty if it has none."""
    names = problem_folder.file_names(directory, "*.py")
    found = [directory / name for name in names if _contains(directory, name, "@funsearch.evolve")]
    return f"Name a specification by its own path: {', '.join(map(str, found))}" if found else ""


_MARKS = (
    f"Put a comment with {START} above what may change and one with {END} below it, or name the file as "
    "`command.program` in overnight.toml to have all of it evolve."
)


def _marked_file_name(directory: Path) -> str:
    """Return the name of the only file that has marks."""
    found = [name for name in problem_folder.file_names(directory) if _contains(directory, name, START)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SpecificationError(
            f"{directory}: {len(found)} files have marks: {', '.join(found)}",
            remedy="Name the file that evolves as `command.program` in overnight.toml, or all of them, as an array.",
        )
    raise SpecificationError(f"{directory}: no file has {START}", remedy=_MARKS)


def _contains(directory: Path, name: str, mark: str) -> bool:
    """Return whether a file contains a mark; a file that is too large to evolve counts as having none."""
    try:
        return mark.encode() in problem_folder.read_bytes(directory, name)
    except SpecificationError:
        return False
