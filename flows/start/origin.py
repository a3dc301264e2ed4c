"""Location of a run's problem: the label that is stored with the run, and the path on this machine."""

from __future__ import annotations

from pathlib import Path

from overnight.schemas.generation import RunRecord
from overnight.tasks.problems import find, find_builtin, names


def problem_label(path: Path) -> str:
    """Return the label of a problem's location, without folders of this machine.

    It is the name of a built-in problem, the given relative path of another one, or else just the file's name.
    """
    if _is_built_in(path):
        return path.stem.replace("_", "-")
    if path.is_absolute() or ".." in path.parts:
        return path.resolve().name
    return path.as_posix()


def origin_of(path: Path) -> str:
    """Return the absolute path of a problem; an empty string for a built-in one, which is found by its name."""
    return "" if _is_built_in(path) else str(path.absolute())


def problem_path(run: RunRecord) -> Path:
    """Return the last known path of a run's problem, which need not exist any more."""
    if run.origin:
        return Path(run.origin)
    label = run.specification_path
    return find(label) if label in names() else Path(label)


def _is_built_in(path: Path) -> bool:
    name = path.stem.replace("_", "-")
    return name in names() and path.absolute() == find_builtin(name).absolute()
