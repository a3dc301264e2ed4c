"""Run a night in the foreground: Prefect server, live view, Ctrl-C, and the summary, or lines of JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePath
from typing import Any

from overnight.flows.cli.best import best_note
from overnight.flows.cli.live_view import live_view, spent
from overnight.flows.cli.printing import (
    count,
    duration,
    err,
    history_flag,
    out,
    say,
    say_score_warning,
    score,
    table,
    write_code,
    write_json,
)
from overnight.flows.night.night import Night
from overnight.flows.night.notifications import Notifier
from overnight.flows.night.open_run import OpenRun, open_run
from overnight.flows.night.signals import handle_interrupts
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.prefect_server.connection import outages, server_answers
from overnight.flows.prefect_server.embedded import PrefectServer
from overnight.flows.start.origin import problem_path
from overnight.flows.start.sandboxes import image_id
from overnight.schemas.errors import EnvironmentFault, ExitCode, PrefectUnavailable, ProviderError
from overnight.schemas.generation import NightRecord, RunRecord, StopReason
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.problem import Problem
from overnight.schemas.program import Program
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.files import RunFiles, find_run
from overnight.tasks.problems.loading.stored_problem import changed_since


def run_night(
    server: PrefectServer,
    get_run: Callable[[], RunFiles],
    conditions: StopConditions,
    history: HistoryBackend,
    failed_generations: list[int] | None = None,
    notifier: Notifier | None = None,
    *,
    as_json: bool = False,
) -> int:
    """Run a night on a Prefect server as `run_with_view` does, and return the exit code."""
    _, result = run_with_view(server, get_run, conditions, history, failed_generations, notifier, as_json=as_json)
    if failed_generations and set(failed_generations) & set(result["failed"]):
        return ExitCode.FAILED
    is_interrupted = result["stop_reason"] == StopReason.INTERRUPTED
    return ExitCode.INTERRUPTED if is_interrupted else ExitCode.DONE


def run_with_view(
    server: PrefectServer,
    get_run: Callable[[], RunFiles],
    conditions: StopConditions,
    history: HistoryBackend,
    failed_generations: list[int] | None = None,
    notifier: Notifier | None = None,
    *,
    as_json: bool = False,
    leaves_stdout: bool = False,
) -> tuple[str, dict[str, Any]]:
    """Run a night with a live view, and print its summary, or lines of JSON; return the run's id and the result.

    Args:
        server: The Prefect server, which may be starting still.
        get_run: Creates or finds the run; called while the server starts.
        conditions: Stop conditions of the night.
        history: The run's history.
        failed_generations: Generations given up, to retry instead of running new ones.
        notifier: Sends notifications about the night.
        as_json: Whether stdout gets a line of JSON for each generation, in place of the summary.
        leaves_stdout: Whether the messages of the summary alone are printed.
    """
    files = get_run()
    with open_run(files) as run, _resume_hint(files.run_id, history):
        loose = run.run.loose_sandbox
        say(f"run {files.run_id}, seed {run.run.seed}{f', sandbox: {loose}' if loose else ''}")
        say_score_warning(run.run.problem)
        _warn_of_changes(run)
        night = Night(run, conditions, failed_generations, notifier)
        say(night.in_flight)
        if as_json:
            print_generations(run)
        with live_view(run, conditions):
            if not failed_generations:
                night.ask_early()
            with (
                server.connected(run.progress.note),
                handle_interrupts(run.progress, server_answers, partial(_abandon, server, files, history)),
            ):
                try:
                    result = _search(night, history, conditions, failed_generations)
                except PrefectUnavailable as error:
                    result = _result_without_server(run, night.number, error)
    if as_json:
        row = stored_run.read_night(files, result["night"], run.state.programs)
        print_end(run, result, row.best_program_id)
    else:
        used = spent(run.progress.budget)
        print_summary(history, files.run_id, result["night"], spent=used, leaves_stdout=leaves_stdout)
    _print_failed_generations(files.run_id, result["failed"], history)
    return files.run_id, result


_LINES_SHOWN = 15
"""Lines of the best program in the summary of a night."""


class CancelledInPrefect(KeyboardInterrupt):
    """The night was cancelled in Prefect."""


def _search(night: Night, history: HistoryBackend, conditions: StopConditions, again: list[int] | None) -> Any:
    from prefect.exceptions import CancelledRun  # loading Prefect takes a second, so after the first requests

    from overnight.flows.night.search import NIGHT, search
    from overnight.flows.prefect_server.crash_detection import without_wait_for_heartbeats

    prepared = NIGHT.set(night)
    try:
        with outages(), without_wait_for_heartbeats():
            return search(night.run.run.run_id, history.location, conditions, again)
    except CancelledRun as error:
        raise CancelledInPrefect from error
    finally:
        NIGHT.reset(prepared)


def _result_without_server(run: OpenRun, night: int, error: PrefectUnavailable) -> dict[str, Any]:
    """Return the result of `search` for a night that ended while its Prefect server was unavailable."""
    files = run.files
    row = stored_run.read_night(files, night, run.state.programs) if files.night(night).exists() else None
    if row is None or row.stop_reason is None or row.error:
        raise error
    say(f"warning: Prefect's UI does not show the end of the night: {error.message}")
    return {"stop_reason": row.stop_reason.value, "failed": sorted(run.state.failed), "night": night}


def _abandon(server: PrefectServer, files: RunFiles, history: HistoryBackend) -> None:
    """Stop the server, record that the night was interrupted, and print the command that continues the run."""
    server.kill()
    record.mark_night_interrupted(files)
    err().show_cursor()
    say(f"stopped at once; continue with: overnight resume {files.run_id}{history_flag(history)}")


def _print_failed_generations(run_id: str, failed: list[int], history: HistoryBackend) -> None:
    if failed:
        numbers = ", ".join(map(str, failed))
        command = f"overnight retry {run_id}{history_flag(history)}"
        say(f"retry     {command}    (given up: generation{'s' * (len(failed) > 1)} {numbers})")


def _warn_of_changes(run: OpenRun) -> None:
    """Say whether the image or the problem's files are others than those that the run was started with."""
    sandbox = run.run.problem.settings.sandbox
    if image_id(sandbox) != run.run.image_id:
        say(f"warning: {sandbox.image} is not the image that the run was started with; scores may not be comparable")

    if changed := changed_since(run.run.problem, problem_path(run.run)):
        say(
            f"warning: {', '.join(changed)} changed since the run was started; the run continues with the old content; "
            "`overnight run` starts a new run with the new one"
        )


@contextlib.contextmanager
def _resume_hint(run_id: str, history: HistoryBackend) -> Iterator[None]:
    """Print the command that continues the run, if the night is stopped at once or by an error."""
    command = f"continue with: overnight resume {run_id}{history_flag(history)}"
    try:
        yield
    except (ProviderError, EnvironmentFault):
        say(f"all results so far are kept; {command}")
        raise
    except KeyboardInterrupt as error:
        how = "cancelled in Prefect, and " if isinstance(error, CancelledInPrefect) else ""
        say(f"{how}stopped at once; {command}")
        raise


def print_generations(run: OpenRun) -> None:
    """Print the run now, and each generation once it is committed."""
    write_json(
        {
            "event": "run",
            "run_id": run.run.run_id,
            "problem": run.run.problem.name,
            "seed": run.run.seed,
            "start_score": run.state.start.score,
            "best_score": run.state.best.score,
        }
    )
    run.progress.watch(lambda number: write_json(_generation(run, number)))


def _generation(run: OpenRun, number: int) -> dict[str, Any]:
    progress = run.progress
    return {
        "event": "generation",
        "run_id": run.run.run_id,
        "generation": number,
        "samples": progress.candidates,
        "best_score": progress.best,
        "best_program_id": progress.best_id,
        "outcomes": {outcome.value: count for outcome, count in progress.outcomes.items()},
        **_cost(run),
    }


def print_end(run: OpenRun, result: dict[str, Any], best_program_id: str) -> None:
    write_json(
        {
            "event": "night",
            "run_id": run.run.run_id,
            "night": result["night"],
            "stop_reason": result["stop_reason"],
            "generations": run.progress.generations,
            "samples": run.progress.candidates,
            "best_score": run.state.best.score,
            "best_program_id": best_program_id,
            "failed_generations": result["failed"],
            **_cost(run),
        }
    )


def _cost(run: OpenRun) -> dict[str, Any]:
    """Return what the night has used so far, and whether some prices are unknown, which count as 0."""
    budget = run.progress.budget
    return {"tokens": budget.tokens, "cost_usd": budget.night_usd, "has_unknown_costs": budget.has_unknown_costs}


def print_summary(
    history: HistoryBackend, run_id: str, night_number: int, *, spent: str, leaves_stdout: bool = False
) -> None:
    """Read a night from its files and print its summary; with `leaves_stdout` without its table and code."""
    files = find_run(history, run_id)
    run, past = stored_run.read_run(files), stored_run.read_run_history(files)
    night = stored_run.read_night(files, night_number, past.programs)
    best = past.programs[night.best_program_id]
    if not leaves_stdout:
        out().print(result_table(run, night, past.start))
        write_beginning(run.problem.specification.function_text(best.body))
    elapsed = duration((night.ended_at - night.started_at).total_seconds()) if night.ended_at else "unfinished"
    reason = night.stop_reason.value if night.stop_reason else "unknown"
    say(
        f"\nnight {night.number}: {count(night.generations, 'generation')}, {count(night.samples, 'sample')}, "
        f"{spent}, {elapsed}; stopped by: {reason}"
    )
    if night.warning:
        say(f"warning: {night.warning}")
    if night.paused_by:
        say(f"paused for {duration(night.paused_s)}; last reason: {night.paused_by}")
    if note := best_note(best, past.programs.values()):
        say(note)
    if failed := night.winner_fails_on:
        say(f"the best program fails on the {' and '.join(failed)} inputs and has no score there")
    if not best.is_scored:
        say(f"nothing has a score yet; why: overnight sql \"FROM failures('{run_id}')\"{history_flag(history)}")
    elif best.id == past.start.id:
        say("no program is better than the start program yet")
    flag = history_flag(history)
    picture = f"picture   overnight best {run_id} --write best.svg{flag}\n" if run.problem.draws else ""
    say(
        f"\nreport    overnight report {run_id}{flag}\n"
        f"continue  overnight resume {run_id}{flag}\n"
        f"show      overnight show {best.id}{flag}\n"
        f"save      overnight best {run_id} --write {file_name_of(run.problem)}{flag}\n{picture}"
        f"""query     overnight sql "FROM progress('{run_id}')"{flag}"""
    )


def write_beginning(code: str) -> None:
    """Write the first lines of a program, so that the table above it stays in sight."""
    lines = code.splitlines()
    write_code("\n".join(lines[:_LINES_SHOWN]))
    if len(lines) > _LINES_SHOWN:
        say(f"… {count(len(lines) - _LINES_SHOWN, 'more line')}, shown by `show` below")


def file_name_of(problem: Problem) -> str:
    """Return a name for the file, or the folder, that a program of a problem is written to."""
    first, *others = problem.specification.start_program.paths
    return "best" if others else f"best{PurePath(first).suffix}"


def result_table(run: RunRecord, night: NightRecord, start: Program):  # noqa: ANN201  (rich is imported late)
    """Return the table of scores on each split: start program, best program and known results."""
    settings = run.problem.settings
    by_id = {finalist.program.id: finalist for finalist in night.finalists}
    rows = []
    for label, program_id in (("start program", start.id), ("best program", night.best_program_id)):
        finalist = by_id.get(program_id)
        train = finalist.train if finalist else (start.score if program_id == start.id else night.best_after)
        failed = night.winner_fails_on if program_id == night.best_program_id else ()
        other_splits = {"validation": finalist and finalist.validation, "held-out": finalist and finalist.held_out}
        cells = ["fails" if name in failed else score(value) for name, value in other_splits.items()]
        rows.append((label, score(train), *cells, program_id))
    known = settings.known
    if known.honesty is not None:
        held_out = "" if known.honesty_held_out is None else score(known.honesty_held_out)
        rows.append(("without a model", score(known.honesty), "", held_out, known.honesty_label))
    if known.best is not None:
        proven = ", proven" if known.proven else ""
        rows.append(("best known", "", "", score(known.best), f"{known.label}{proven} ({known.source}, {known.date})"))
    columns = ("", "train", "validation", "held-out", "program or source")
    title = f"{settings.title or run.problem.name}: {settings.score_name}"
    return table(columns, rows, right=("train", "validation", "held-out"), title=title)
