"""Recorded nights of built-in problems: the archive of a name, and whether its problem has changed since."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from overnight.schemas.errors import UsageError
from overnight.schemas.generation import RunRecord
from overnight.tasks.problems import find_builtin, names, recorded
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.stored_problem import scores_alike


def find_archive(named: str) -> tuple[Path, str]:
    """Return the archive that is named, and the built-in problem whose recorded night it is; empty for a file.

    A name with a slash, and that of an existing file, is a path.

    Raises:
        UsageError: If it is neither, or the problem has no recorded night.
    """
    path = Path(named)
    if path.is_file() or any(mark and mark in named for mark in (os.sep, os.altsep)):
        return path, ""
    if named not in names():
        close = difflib.get_close_matches(named, recorded.names(), n=1)
        raise UsageError(
            f"no file {named}, and no built-in problem of that name",
            remedy=f"{f'Did you mean {close[0]}? ' if close else ''}Name a file that `overnight export` wrote, or a "
            f"problem that has a recorded night: {', '.join(recorded.names())}",
        )
    return recorded.archive(named), named


def change_since(run: RunRecord, flag: str = "") -> str:
    """Return what can still be done with a run whose built-in problem scores otherwise now; empty if it does not.

    Args:
        run: The run.
        flag: Flag of commands that names its history.
    """
    name = run.specification_path
    if run.origin or name not in names():
        return ""
    then, now = run.problem.specification, load_problem(find_builtin(name)).specification
    # A directory of somebody may have the name of a built-in problem.
    if then.kind != now.kind or scores_alike(then.text, now.text, name):
        return ""
    rescored = f"overnight rescore {run.run_id}{flag}"
    said = (
        f"the problem {name} has changed since {run.run_id} was recorded, whose scores are those of the problem as it "
        "was: `report`, `sql` and `replay` work as ever"
    )
    if then.shape == now.shape:
        return f"{said}; `{rescored} {name}` scores its programs under the present one"
    return (
        f"{said}; its programs do not fit the present one, where `{now.shape}` evolves and not `{then.shape}`, so only "
        f"`{rescored}` goes on from them, with the problem as it was"
    )
