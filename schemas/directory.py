"""A problem that is a directory: a file that evolves, a command that scores it, and settings in `overnight.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas import problem_folder
from schemas.errors import SpecificationError
from schemas.marked_file import END, START, MarkedFile, read_marked
from schemas.settings import Command, Settings
from schemas.task_formats import hint

DEFAULTS: dict[str, Any] = {"inputs": [None], "limits": {"scratch_mib": 64}}
"""What is otherwise than for a specification: a command may have no input, and its program lies in a file."""


def read_program(directory: Path, settings: Settings) -> tuple[MarkedFile, Settings]:
    """The file that evolves, and the settings with its name in them.

    Raises:
        SpecificationError: If there is no command, no such file, or something is wrong with it.
    """
    command = settings.command
    if not command.evaluate:
        raise SpecificationError(
            f"{directory}: no command that scores a program",
            remedy=hint(directory)
            or _specifications(directory)
            or 'Write `command.evaluate = ["python3", "evaluate.py", "{program}"]` into its overnight.toml; it '
            'prints metrics as JSON, like {"score": 1.5}.',
        )
    name = command.program or _with_marks(directory)
    _require_name(name, str(directory))
    file = read_marked(problem_folder.read_text(directory, name), name)
    if file.fixed == ("", "") and not command.program:
        raise SpecificationError(f"{directory / name}: no marks", remedy=_MARKS)
    # What the command names goes along unasked.
    named = [part for part in command.evaluate if part != name and problem_folder.has_file(directory, part)]
    files = dict.fromkeys([*settings.files, *named])
    command = command.model_copy(update={"program": name})
    score_name = settings.score_name if "score_name" in settings.model_fields_set else command.metric
    return file, settings.model_copy(update={"command": command, "files": tuple(files), "score_name": score_name})


def _specifications(directory: Path) -> str:
    """What to say of a folder in which specifications lie; empty where none does."""
    names = problem_folder.file_names(directory, "*.py")
    found = [directory / name for name in names if _holds(directory, name, "@funsearch.evolve")]
    return f"A specification is named by its own path: {', '.join(map(str, found))}" if found else ""


def _require_name(name: str, where: str) -> None:
    if Path(name).name != name or not name.isprintable():
        raise SpecificationError(
            f"{where}: command.program is {name!r}: what evolves is one file, in the directory itself",
            remedy="Put it there; files of folders that it needs are named in `files`.",
        )


def restore_program(text: str, command: Command) -> MarkedFile:
    """The file again from what a run has written down of it."""
    _require_name(command.program, "what the run has written down")
    return read_marked(text, command.program)


_MARKS = (
    f"Put a comment with {START} above what may change and one with {END} below it, or name the file as "
    "`command.program` in overnight.toml to have all of it evolve."
)


def _with_marks(directory: Path) -> str:
    """Name of the only file that has marks."""
    found = [name for name in problem_folder.file_names(directory) if _holds(directory, name, START)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SpecificationError(
            f"{directory}: {len(found)} files have marks: {', '.join(found)}",
            remedy="Name the one that evolves as `command.program` in overnight.toml.",
        )
    raise SpecificationError(f"{directory}: no file has {START}", remedy=_MARKS)


def _holds(directory: Path, name: str, mark: str) -> bool:
    """Whether a file holds a mark; one that is too large to evolve holds none."""
    try:
        return mark.encode() in problem_folder.read_bytes(directory, name)
    except SpecificationError:
        return False
