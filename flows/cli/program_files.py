"""Write a program of a run to disk: its only file, or the whole tree where several files evolve."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from flows.cli.printing import require_new, write_new
from schemas.errors import UsageError
from schemas.files import HIDDEN_REMEDY, is_hidden

if TYPE_CHECKING:
    from schemas.problem import Problem


def write_program(path: Path, problem: Problem, body: str) -> None:
    """Write a program: its only file, or a new folder with all evolving files and those that the problem delivers.

    Raises:
        UsageError: If something is at the path already, or it cannot be written.
    """
    require_new_program(path, problem)
    if isinstance(problem.settings.command.program, str):
        write_new(path, problem.specification.program(body).main)
        return
    try:
        for name, content in _contents(problem, body).items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            with (path / name).open("xb") as handle:
                handle.write(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", remedy="Name another folder.") from error


def require_new_program(path: Path, problem: Problem) -> None:
    """Check that a program can be written to a path.

    Raises:
        UsageError: If something is there already.
    """
    if isinstance(problem.settings.command.program, str):
        require_new(path)
    else:
        _require_new_folder(path)


def _require_new_folder(path: Path) -> None:
    """Check that nothing is at a path, or an empty folder.

    Raises:
        UsageError: If something is there; nothing of it would be overwritten, but the tree would be mixed with it.
    """
    is_free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    if path.is_symlink() or not is_free:
        raise UsageError(f"{path} exists already", remedy="Name a new folder, or remove this one first.")


def _contents(problem: Problem, body: str) -> dict[str, bytes]:
    """Return the content of each file by its path.

    Raises:
        UsageError: If a path is hidden, which only a run that was tampered with can have.
    """
    contents = {file.path: file.content for file in problem.files}
    program = problem.specification.program(body)
    contents |= {name: text.encode("utf-8", "surrogatepass") for name, text in program.files}
    for name in contents:
        if is_hidden(PurePath(name)):
            raise UsageError(f"the run has a hidden file {name!r}; nothing was written", remedy=HIDDEN_REMEDY)
    return contents
