"""`overnight compact`, `export`, `import`: looking after what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.printing import DEFAULT_HISTORY, History, history_flag, say
from schemas.errors import RunIsBusy


def compact(
    run: Annotated[str | None, Parameter(help="a run id, a unique prefix of one, or `last`; by default all")] = None,
    /,
    *,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Put the files of all generations of a run together, so that questions are answered faster. Nothing is lost."""
    from tasks.history.compact import compact as put_together
    from tasks.history.files import find_run, runs_in
    from tasks.history.run_lock import run_lock

    for files in runs_in(history) if run is None else [find_run(history, run)]:
        try:
            with run_lock(files):
                merged = put_together(files, min_generations=1)
        except RunIsBusy as error:
            if run is not None:
                raise
            say(f"{files.run_id}: left alone: {error.message}")
            continue
        say(f"{files.run_id}: {f'{merged} folders became one' if merged else 'nothing to do'}")


def export(
    run: Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`")],
    /,
    *,
    write: Annotated[Path | None, Parameter(help="file to write, replacing an older one; default: RUN.tar.zst")] = None,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Write a run into one file, which `overnight import` takes in on another machine."""
    from tasks.history.archive import pack
    from tasks.history.files import find_run
    from tasks.history.run_lock import run_lock

    files = find_run(history, run)
    target = write or Path(f"{files.run_id}.tar.zst")
    with run_lock(files):
        manifest = pack(files, target)
    said = f"{len(manifest.files)} files, {target.stat().st_size / 1024:,.0f} KiB"
    say(f"wrote {target} ({said}); take it in elsewhere with: overnight import {target.name}")


def import_run(
    file: Annotated[Path, Parameter(help="what `overnight export` wrote")], /, *, history: History = DEFAULT_HISTORY
) -> None:
    """Take in a run that was exported elsewhere, whole and as it was; it can be gone on with."""
    from tasks.history.archive import unpack

    files, is_new = unpack(file, history)
    said = "taken in" if is_new else "is there already, the same"
    say(f"{files.run_id}: {said}; overnight resume {files.run_id}{history_flag(history)}")
