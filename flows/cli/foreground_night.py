"""Run a night in the foreground: Prefect server, live view, Ctrl-C, and the summary, or lines of JSON."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from overnight.flows.cli.best import best_note
from overnight.flows.cli.live_view import live_view
from overnight.flows.cli.printing import (
    count,
    err,
    history_flag,
    out,
    say,
    say_score_warning,
    table,
    write_code,
    write_json,
)
from overnight.flows.cli.terminal import tell_nobody
from overnight.flows.night.facts import ShownNight, commands, facts_of, first_line, remarks, score_rows
from overnight.flows.night.night import Night
from overnight.flows.night.notifications import Notifier
from overnight.flows.night.open_run import OpenRun, open_run, read_state
from overnight.flows.night.signals import handle_interrupts
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.prefect_server.connection import outages
from overnight.flows.prefect_server.embedded import PrefectServer
from overnight.flows.start.origin import problem_path
from overnight.flows.start.sandboxes import image_id
from overnight.schemas.errors import EnvironmentFault, ExitCode, PrefectUnavailable, ProviderError
from overnight.schemas.generation import StopReason
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.problem import Problem
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.files import RunFiles
from overnight.tasks.problems.loading.stored_problem import changed_since

if TYPE_CHECKING:
    from rich.table import Table


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
        with (
            _summary_if_stopped(night, as_json=as_json, leaves_stdout=leaves_stdout),
            live_view(run, conditions),
            # Before the first requests, which are made while Prefect is loaded.
            handle_interrupts(run.progress, server.answers, partial(_abandon, server, files, history)),
            night.begun(),
            _flows_loaded(),
            server.connected(run.progress.note),
        ):
            try:
                result = search_night(night, conditions, failed_generations)
            except PrefectUnavailable as error:
                result = _result_without_server(run, night.number, error)
    if as_json:
        print_end(night.shown)
    else:
        print_summary(night.shown, leaves_stdout=leaves_stdout)
    return files.run_id, result


@contextlib.contextmanager
def _summary_if_stopped(night: Night, *, as_json: bool, leaves_stdout: bool) -> Iterator[None]:
    """Print the summary of what is committed, if the night is stopped at once."""
    try:
        yield
    except KeyboardInterrupt:
        committed = replace(night.shown, state=read_state(night.run.files, night.run.run))
        if as_json:
            print_end(committed)
        else:
            print_summary(committed, leaves_stdout=leaves_stdout)
        raise


_LINES_SHOWN = 15
"""Lines of the best program in the summary of a night."""


class CancelledInPrefect(KeyboardInterrupt):
    """The night was cancelled in Prefect."""


@contextlib.contextmanager
def _flows_loaded() -> Iterator[None]:
    """Load Prefect and the flows, which takes a second: after the first requests, and while the server starts."""
    import_module("overnight.flows.night.search")
    yield


def search_night(night: Night, conditions: StopConditions, again: list[int] | None = None) -> Any:
    """Run a night that has begun, as a flow run of its own, and return its result."""
    from prefect.exceptions import CancelledRun

    from overnight.flows.night.search import NIGHT, search
    from overnight.flows.prefect_server.crash_detection import without_wait_for_heartbeats

    prepared = NIGHT.set(night)
    try:
        with outages(), without_wait_for_heartbeats():
            return search(night.run.run.run_id, night.run.files.backend.location, conditions, again)
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
    write_event(
        {
            "event": "run",
            "run_id": run.run.run_id,
            "problem": run.run.problem.name,
            "seed": run.run.seed,
            "start_score": run.state.start.score,
            "best_score": run.state.best.score,
        }
    )
    run.progress.watch(lambda number: write_event(_generation(run, number)))


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


def write_event(event: dict[str, Any]) -> None:
    """Write a line of JSON; a night whose reader has ended goes on."""
    try:
        write_json(event)
    except BrokenPipeError:
        say("warning: what read standard output has ended; the night goes on")
        tell_nobody(sys.stdout)


def print_end(night: ShownNight) -> None:
    """Print the facts of a night that has ended."""
    facts = {fact.name: fact.value for fact in facts_of(night) if fact.name}
    write_event({"event": "night", "run_id": night.run.run_id, **facts})
    if night.state.failed:
        say(f"retry     {commands(night)['retry']}")


def _cost(run: OpenRun) -> dict[str, Any]:
    """Return what the night has used so far, and whether some prices are unknown, which count as 0."""
    budget = run.progress.budget
    return {"tokens": budget.tokens, "cost_usd": budget.night_usd, "has_unknown_costs": budget.has_unknown_costs}


def print_summary(night: ShownNight, *, leaves_stdout: bool = False) -> None:
    """Print the summary of a night; with `leaves_stdout` without its table and code."""
    problem, best = night.run.problem, night.best
    if not leaves_stdout:
        out().print(result_table(night))
        write_beginning(night.text_of(best))
    say(f"\n{first_line(night)}")
    for remark in remarks(night, beside_table=not leaves_stdout):
        say(remark)
    if note := best_note(best, night.state.programs.values(), night.run.problem):
        say(note)
    run_id, flag = night.run.run_id, night.flag
    more = {
        "show": f"overnight show {best.id}{flag}",
        "save": f"overnight best {run_id} --write {file_name_of(problem)}{flag}",
        "picture": f"overnight best {run_id} --write best.svg{flag}" if problem.draws else "",
        "query": f"""overnight sql "FROM progress('{run_id}')"{flag}""",
    }
    lines = [f"{name:10}{command}" for name, command in (commands(night) | more).items() if command]
    say("\n" + "\n".join(lines))


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


def result_table(night: ShownNight) -> Table:
    """Return the table of scores on each split: start program, best program and known results."""
    rows = score_rows(night)
    title = f"{night.title}: {night.run.problem.settings.score_name}"
    right = ("train", "validation", "held-out")
    return table(list(rows[0]), [list(row.values()) for row in rows], right=right, title=title)
