"""`overnight compact`, `export` and `import`: maintain the files of runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from overnight.flows.cli import options
from overnight.flows.cli.printing import DEFAULT_HISTORY, History, count, history_flag, say, score
from overnight.schemas.errors import HistoryError, RunIsBusy, UsageError

if TYPE_CHECKING:
    from overnight.schemas.generation import RunRecord
    from overnight.tasks.history.files import RunFiles


def compact(run: options.AnyRun = None, /, *, history: History = DEFAULT_HISTORY) -> None:
    """Merge the files of a run's generations, so that queries are faster. No data is lost."""
    from overnight.tasks.history.compact import compact as compact_run
    from overnight.tasks.history.files import runs_in
    from overnight.tasks.history.find_run import find_run, no_run_in
    from overnight.tasks.history.run_lock import run_lock

    found = runs_in(history) if run is None else [find_run(history, run)]
    if not found:
        raise no_run_in(history)
    failed: HistoryError | None = None
    for files in found:
        try:
            with run_lock(files):
                merged = compact_run(files, min_generations=1)
        except (HistoryError, RunIsBusy) as error:
            if run is not None:
                raise
            say(f"{files.run_id}: skipped: {error.message}")
            failed = failed or (error if isinstance(error, HistoryError) else None)
            continue
        say(f"{files.run_id}: {f'merged {merged} folders into one' if merged else 'nothing to do'}")
    if failed:
        raise failed  # once the others are done


def export(
    run: options.RunId,
    /,
    *,
    write: Path | None = None,
    as_: Annotated[Literal["archive", "jsonl"], Parameter(name="--as")] = "archive",
    history: History = DEFAULT_HISTORY,
) -> None:
    """Export a run to one file, which `overnight import` reads on another machine, or as data to learn from.

    Args:
        write: file to write; an existing one is replaced; default: RUN.tar.zst or RUN.jsonl
        as_: archive: the whole run; jsonl: each sample's prompt, response, parent, child and scores on a line, in the
            form of OpenEvolve's evolution trace
    """
    from overnight.tasks.history.archive import pack, require_no_folder
    from overnight.tasks.history.database import Database
    from overnight.tasks.history.find_run import find_run
    from overnight.tasks.history.run_lock import lock_to_read
    from overnight.tasks.history.stored_run import read_run
    from overnight.tasks.history.trace import write_trace

    files = find_run(history, run)
    name = f"{files.run_id}.{'jsonl' if as_ == 'jsonl' else 'tar.zst'}"
    target = write or Path(name)
    require_no_folder(target, name)
    if as_ == "archive" and target.suffix != ".zst":
        raise UsageError(
            f"--write: an archive is compressed with zstd, so that its name ends in .zst, got {target}",
            remedy=f"For example: --write {shlex.quote(str(target.with_name(name)))}",
        )
    if as_ == "jsonl":
        code_of = read_run(files).problem.specification.function_text
        steps = write_trace(Database(files.backend.root, files.run_id), files.run_id, target, code_of)
        say(f"wrote {target}: {count(steps, 'step')} from a parent to a child, one a line")
        return
    with lock_to_read(files):
        manifest = pack(files, target)
        warning = _pending_batches_warning(files, history)
    size = f"{len(manifest.files)} files, {target.stat().st_size / 1024:,.0f} KiB"
    say(f"wrote {target} ({size}); import it on another machine with: overnight import {shlex.quote(target.name)}")
    if warning:
        say(f"warning: {warning}")


def _pending_batches_warning(files: RunFiles, history: History) -> str:
    """Return a warning that batch jobs are left out, which only this history can collect; empty if there are none."""
    from overnight.tasks.history.journal import PendingBatches

    try:
        pending = len(PendingBatches(files.directory / "paid", files.backend).all())
    except HistoryError as error:
        return f"{error.message}; its batch job is not in the archive"
    if not pending:
        return ""
    jobs, their = ("1 pending batch job is", "its") if pending == 1 else (f"{pending} pending batch jobs are", "their")
    return (
        f"{jobs} not in the archive, and the imported run would pay for {their} completions again; collect them here "
        f"with `overnight resume {files.run_id}{history_flag(history)}`, then export the run again"
    )


def import_run(
    name: str,
    /,
    *,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Import a complete run that was exported elsewhere, or the recorded night of a built-in problem.

    Args:
        name: file that `overnight export` wrote, or a problem whose recorded night comes with Overnight (`overnight
            problems` has them under found); an existing file, and a name with a slash, is a file
    """
    from overnight.flows.start.recorded_night import change_since, find_archive
    from overnight.tasks.history.archive import unpack
    from overnight.tasks.history.stored_run import read_run
    from overnight.tasks.problems import recorded

    archive, problem = find_archive(name)
    if not problem and name in recorded.names():
        say(f"note: {name} is a file here, and is imported; `overnight import {name}` elsewhere is the recorded night")
    try:
        files, is_new = unpack(archive, history)
    except HistoryError as error:
        raise HistoryError(error.message, remedy=_INSTALL_AGAIN if problem else error.remedy) from error
    run = read_run(files)
    result = "imported" if is_new else "already in the history, with the same content"
    say(f"{files.run_id}: {result}{f': the recorded night of {problem}' if problem else ''}")
    if problem:
        _say_night(problem)
    change = change_since(run, history_flag(history))
    if change:
        say(f"note: {change}")
    for what, command in _next_commands(run, problem, history_flag(history), is_as_it_was=not change).items():
        say(f"{what:<9} {command}")


def _say_night(problem: str) -> None:
    """Say by which models the recorded night of a problem is, and what is to be known beside its record."""
    from overnight.tasks.problems import recorded

    if night := recorded.nights().get(problem):
        say(f"{count(night.answers, 'answer')} of {night.by}, {score(night.start)} to {score(night.found)}")
    if note := recorded.note(problem):
        say(f"note: {note}")


_INSTALL_AGAIN = "It came with Overnight: install that again, such as with `uv tool install --reinstall overnight`."


def _next_commands(run: RunRecord, problem: str, flag: str, *, is_as_it_was: bool) -> dict[str, str]:
    """Return the commands that read an imported run and go on from it, by what they do."""
    from overnight.flows.start.trust import can_be_accepted
    from overnight.tasks.problems import recorded

    name = f"{run.run_id}{flag}"
    go_on = f"overnight rescore {name} --set sampling.models=MODEL, then overnight resume last{flag}"
    if not problem:
        # A command, a folder or a sandbox of whoever exported it is nobody else's.
        return {"continue": f"overnight resume {name}" if can_be_accepted(run.problem) else go_on}
    read = {
        "read": f"overnight report {name}",
        "query": f"overnight sql \"FROM improvements('{run.run_id}')\"{flag}",
        "replay": f"overnight replay {name}",
    }
    if (night := recorded.nights().get(problem)) and run.problem.settings.is_won_by(night.found):
        return read  # nothing is left to search for
    branch = {"branch": f"overnight run {problem} --start {name} --model MODEL"} if is_as_it_was else {}
    return {**read, **branch, "continue": go_on}
