"""Find a run of a history by its id, a prefix of it, its problem, or as the newest one."""

from __future__ import annotations

from datetime import UTC, datetime

from overnight.schemas.errors import UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.ids import problem_in, slug
from overnight.tasks.history.atomic_files import read_file
from overnight.tasks.history.files import RunFiles, require_plain, runs_in
from overnight.tasks.history.private_files import require_plain_files


def find_run(history: HistoryBackend, name: str) -> RunFiles:
    """Return the run with an id or a unique prefix of one, or the newest one for `last` or the name of a problem.

    The newest run is the one that was started last, as in SQL: times of files change when a history is copied.

    Raises:
        UsageError: If no run or several runs fit.
        HistoryError: If something in the run's directory is neither a regular file nor a folder, or, for `last`, if
            the row of a run cannot be read.
    """
    runs = runs_in(history)
    if not runs:
        raise no_run_in(history)
    if name == "last":
        return _checked(max(runs, key=_start))
    found = [run for run in runs if run.run_id == name] or [run for run in runs if run.run_id.startswith(name)]
    if not found and (of_problem := [run for run in runs if problem_in(run.run_id) == slug(name)]):
        return _checked(max(of_problem, key=_start))
    if len(found) == 1:
        return _checked(found[0])
    if not found:
        raise UsageError(
            f"no run {name!r} in {history.location}", remedy="`overnight runs` lists them; `last` is the newest."
        )
    names = ", ".join(run.run_id for run in found[:5])
    raise UsageError(f"{name!r} fits {len(found)} runs: {names}", remedy="Give a longer prefix.")


def no_run_in(history: HistoryBackend) -> UsageError:
    """Return the error for a history without a run, whose place may be misspelt."""
    return UsageError(
        f"no run in {history.location}",
        remedy="Name the place of your runs with --history, or start one: overnight run bin-packing-or",
    )


def _start(files: RunFiles) -> tuple[datetime, str]:
    """Return the time at which a run was started and its id, which decides between runs that started together."""
    require_plain([files.run])
    rows = read_file(files.run, columns=["started_at"]).to_pylist()
    started_at = rows[0].get("started_at") if rows else None
    return started_at or datetime.min.replace(tzinfo=UTC), files.run_id


def _checked(files: RunFiles) -> RunFiles:
    require_plain_files(files.directory)
    return files
