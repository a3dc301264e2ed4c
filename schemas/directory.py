"""Read a problem that is a directory: an evolved file, a command that scores it, and settings in `overnight.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas import problem_folder
from schemas.errors import SpecificationError
from schemas.marked_file import END, START, MarkedFile, read_marked
from schemas.settings import Command, Settings
from schemas.task_formats import missing_program_remedy

DEFAULTS: dict[str, Any] = {"inputs": [None], "limits": {"scratch_mib": 64}}
"""Defaults that differ from those of a specification: a command may have no input, and its program is a file."""


def read_program(directory: Path, settings: Settings) -> tuple[MarkedFile, Settings]:
    """Read the evolved file; return it, and the settings with its name and its command's files.

    Raises:
        SpecificationError: If there is no command, or the file is missing or wrong.
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
    name = command.program or _marked_file_name(directory)
    _require_name(name, str(directory))
    file = read_marked(problem_folder.read_text(directory, name), name)
    if file.fixed == ("", "") and not command.program:
        raise SpecificationError(f"{directory / name}: no marks", remedy=_MARKS)
    # Files that the command names are part of the problem without being listed.
    command_files = [part for part in command.evaluate if part != name and problem_folder.has_file(directory, part)]
    files = dict.fromkeys([*settings.files, *command_files])
    command = command.model_copy(update={"program": name})
    score_name = settings.score_name if "score_name" in settings.model_fields_set else command.metric
    return file, settings.model_copy(update={"command": command, "files": tuple(files), "score_name": score_name})


def _specifications_remedy(directory: Path) -> str:
    """Return the remedy for a folder of specifications; empty if it has none."""
    names = problem_folder.file_names(directory, "*.py")
    found = [directory / name for name in names if _contains(directory, name, "@funsearch.evolve")]
    return f"Name a specification by its own path: {', '.join(map(str, found))}" if found else ""


def _require_name(name: str, where: str) -> None:
    if Path(name).name != name or not name.isprintable():
        raise SpecificationError(
            f"{where}: command.program is {name!r}, expected one file in the directory itself",
            remedy="Move the file there; list files in subfolders that it needs in `files`.",
        )


def restore_program(text: str, command: Command) -> MarkedFile:
    """Restore the evolved file from the data that a run stores."""
    _require_name(command.program, "the settings of the run")
    return read_marked(text, command.program)


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
            remedy="Name the file that evolves as `command.program` in overnight.toml.",
        )
    raise SpecificationError(f"{directory}: no file has {START}", remedy=_MARKS)


def _contains(directory: Path, name: str, mark: str) -> bool:
    """Return whether a file contains a mark; a file that is too large to evolve counts as having none."""
    try:
        return mark.encode() in problem_folder.read_bytes(directory, name)
    except SpecificationError:
        return False
