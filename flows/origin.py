"""Where the problem of a run lies: what a run says of it to anyone, and where this machine has it."""

from __future__ import annotations

from pathlib import Path

from schemas.generation import RunRecord
from tasks.problems import find, find_builtin, names


def problem_label(path: Path) -> str:
    """Return what a run tells of a problem's place, without folders of this machine.

    A built-in problem has its name, another one the relative path that was given, or its mere name.
    """
    if _is_built_in(path):
        return path.stem.replace("_", "-")
    if path.is_absolute() or ".." in path.parts:
        return path.resolve().name
    return path.as_posix()


def origin_of(path: Path) -> str:
    """Return the absolute path of a problem; empty where it is built in, and so found by its name."""
    return "" if _is_built_in(path) else str(path.absolute())


def problem_path(run: RunRecord) -> Path:
    """Return where the problem of a run lies, as far as that is known; it need not be there any more."""
    if run.origin:
        return Path(run.origin)
    told = run.specification_path
    return find(told) if told in names() else Path(told)


def _is_built_in(path: Path) -> bool:
    name = path.stem.replace("_", "-")
    return name in names() and path.absolute() == find_builtin(name).absolute()
