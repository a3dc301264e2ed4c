"""Problems that are directories: evolving files, a command that scores them, and settings in `overnight.toml`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.files import File
from overnight.schemas.problem import Problem
from overnight.schemas.settings import Command, Settings, parse_settings
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.problems.loading.formats import NamedProblem, ProblemFormat
from overnight.tasks.problems.loading.problem_files import read_files, with_input_files
from overnight.tasks.program import problem_folder
from overnight.tasks.program.config_layers import merge
from overnight.tasks.program.evolving_files import read_evolving_files
from overnight.tasks.program.make_problem import make_problem, require_name
from overnight.tasks.program.marked_file import END, START, read_marked
from overnight.tasks.program.user_config import user_layers

_DEFAULTS: dict[str, Any] = {"inputs": [None], "limits": {"scratch_mib": 64}}
"""Defaults that differ from those of a specification: a command may have no input, and its program is a file."""


@dataclass(frozen=True)
class Task:
    """A task of another tool, translated.

    Attributes:
        settings: Settings of the task, a layer below `overnight.toml` and the flags.
        added_files: Files that are added to those of the directory; one that is the only file that evolves, and that
            the directory lacks, is the start program.
        notes: Unused settings, and other differences from the tool, for the user.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    added_files: tuple[File, ...] = ()
    notes: tuple[str, ...] = ()


class Directory(ProblemFormat):
    """Format of directories whose `overnight.toml`, or the flags, name a command that scores programs."""

    def recognises(self, named: NamedProblem) -> bool:
        return named.path.is_dir() and "evaluate" in named.command

    def load(self, named: NamedProblem) -> Problem:
        return load_directory(named)


FORMAT = Directory()


def load_directory(named: NamedProblem, task: Task = Task()) -> Problem:
    """Load the problem in a directory, or that of a file which names a command.

    Raises:
        SpecificationError: If there is no command, or a file is missing or wrong.
        UsageError: If a setting is wrong.
    """
    folder = named.folder
    layers = [_DEFAULTS, task.settings, named.settings_file, *user_layers(named.flags)]
    where = f"{folder.resolve().name}/overnight.toml" if named.path.is_dir() else named.path.name
    settings = parse_settings(merge(layers), where)
    skeleton, settings = _read_program(folder, settings, {file.path: file for file in task.added_files})
    if settings.sandbox.split:
        raise UsageError(
            "sandbox.split=true is for specifications: a command decides itself how it runs a program",
            remedy="Leave it out; a new best program is confirmed in a fresh container in any case.",
        )
    if settings.command.process == "own" and (skeleton.language, type(settings.command.program)) != ("python", str):
        raise UsageError(
            "command.process=own: expected a program that is one Python file, whose functions the command calls",
            remedy="Leave it out: the program then runs as the command runs it.",
        )
    settings = with_input_files(settings, folder)
    evolving = settings.command.evolving_paths
    files = [*read_files(folder, settings.files), *task.added_files]
    problem = make_problem(
        problem_name(named.path), skeleton, settings, [found for found in files if found.path not in evolving]
    )
    return replace(problem, notes=task.notes)


def problem_name(path: Path) -> str:
    """Return the name of a problem; prefix that of a directory which is only a number with the parent's name."""
    real = path.resolve()
    name = path.stem if path.is_file() else f"{real.parent.name}-{real.name}" if real.name.isdigit() else real.name
    return name.replace("_", "-")


def no_command(directory: Path, remedy: str = "") -> SpecificationError:
    """Return the error for a directory without a command; by default, its remedy tells how to name one."""
    return SpecificationError(
        f"{directory}: no command that scores a program",
        remedy=remedy
        or 'Write `command.evaluate = ["python3", "evaluate.py", "{program}"]` into its overnight.toml; the command '
        'prints metrics as JSON, like {"score": 1.5}.',
    )


def _read_program(directory: Path, settings: Settings, added: Mapping[str, File]) -> tuple[Skeleton, Settings]:
    """Read the evolving files; return them, and the settings with their names and the command's files."""
    command = settings.command
    if not command.evaluate:
        raise no_command(directory)
    skeleton, program = _read_skeleton(directory, command, added)
    command = command.model_copy(update={"program": program})
    # Files that the command names are part of the problem without being listed.
    others = [part for part in (*command.evaluate, *command.draw) if part not in command.evolving_paths]
    files = dict.fromkeys([*settings.files, *(part for part in others if problem_folder.has_file(directory, part))])
    score_name = settings.score_name if "score_name" in settings.model_fields_set else command.metric
    return skeleton, settings.model_copy(update={"command": command, "files": tuple(files), "score_name": score_name})


def _read_skeleton(
    directory: Path, command: Command, added: Mapping[str, File]
) -> tuple[Skeleton, str | tuple[str, ...]]:
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
    is_added = name in added and problem_folder.locate(directory, name) is None
    text = added[name].content.decode() if is_added else problem_folder.read_text(directory, name)
    file = read_marked(text, name)
    if not file.has_marks and not given:
        raise SpecificationError(f"{directory / name}: no marks", remedy=_MARKS)
    return file, name


def _matching_names(directory: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of the files that patterns name, in the order of the patterns, each once."""
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


_MARKS = (
    f"Put a comment with {START} above what may change and one with {END} below it, or name the file as "
    "`command.program` in overnight.toml to have all of it evolve."
)


def _marked_file_name(directory: Path) -> str:
    """Return the name of the only file that has marks."""
    found = [name for name in problem_folder.file_names(directory) if problem_folder.contains(directory, name, START)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SpecificationError(
            f"{directory}: {len(found)} files have marks: {', '.join(found)}",
            remedy="Name the file that evolves as `command.program` in overnight.toml, or all of them, as an array.",
        )
    raise SpecificationError(f"{directory}: no file has {START}", remedy=_MARKS)
