"""Run a night in the foreground: Prefect server, live view, Ctrl-C and final summary."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from flows.cli.json_lines import print_end, print_generations
from flows.cli.live_view import live_view, spent
from flows.cli.printing import err, history_flag, say
from flows.cli.summary import print_summary
from flows.night.night import Night
from flows.night.notifications import Notifier
from flows.night.open_run import OpenRun, open_run
from flows.night.signals import handle_interrupts
from flows.night.stop_conditions import StopConditions
from flows.prefect_server.connection import outages, server_answers
from flows.prefect_server.embedded import PrefectServer
from flows.start.origin import problem_path
from flows.start.sandboxes import image_id
from schemas.errors import EnvironmentFault, ExitCode, PrefectUnavailable, ProviderError
from schemas.generation import StopReason
from schemas.history_backend import HistoryBackend
from tasks.history import record
from tasks.history.files import RunFiles
from tasks.problems.loading.stored_problem import changed_since


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
    """Run one night on a Prefect server, print its summary, and return the exit code.

    Args:
        server: The server, which may be starting still.
        get_run: Creates or finds the run; called while the server starts.
        conditions: Stop conditions of the night.
        history: The run's history.
        failed_generations: Generations given up, to retry instead of running new ones.
        notifier: Sends notifications about the night.
        as_json: Whether stdout gets a line of JSON for each generation, in place of the summary.
    """
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
    """Run one night on a Prefect server, with a live view, and print its summary, or lines of JSON.

    With `leaves_stdout`, print the messages of the summary alone.

    Returns:
        The run's id and the result of the search flow.
    """
    files = get_run()
    with open_run(files, notifier=notifier) as run, _resume_hint(files.run_id, history):
        loose = run.run.loose_sandbox
        say(f"run {files.run_id}, seed {run.run.seed}{f', sandbox: {loose}' if loose else ''}")
        _warn_of_changed_image(run)
        _warn_of_changed_files(run)
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
        row = record.read_night(files, result["night"], run.state.programs)
        print_end(run, result, row.best_program_id)
    else:
        used = spent(run.progress.budget)
        print_summary(history, files.run_id, result["night"], spent=used, leaves_stdout=leaves_stdout)
    _print_failed_generations(files.run_id, result["failed"], history)
    return files.run_id, result


class CancelledInPrefect(KeyboardInterrupt):
    """The night was cancelled in Prefect."""


def _search(night: Night, history: HistoryBackend, conditions: StopConditions, again: list[int] | None) -> Any:
    """Run the search flow and return its result.

    Raises:
        PrefectUnavailable: If the server does not answer.
        CancelledInPrefect: If the night was cancelled there.
    """
    from prefect.exceptions import CancelledRun  # loading Prefect takes a second, so after the first requests

    from flows.night.search import NIGHT, search
    from flows.prefect_server.crash_detection import without_wait_for_heartbeats

    prepared = NIGHT.set(night)
    try:
        with outages(), without_wait_for_heartbeats():
            return search(night.run.run.run_id, history.location, conditions, again)
    except CancelledRun as error:
        raise CancelledInPrefect from error
    finally:
        NIGHT.reset(prepared)


def _result_without_server(run: OpenRun, night: int, error: PrefectUnavailable) -> dict[str, Any]:
    """Return the result of `search` for a night that ended while its Prefect server was unavailable.

    Raises:
        PrefectUnavailable: If the night did not end normally.
    """
    files = run.files
    row = record.read_night(files, night, run.state.programs) if files.night(night).exists() else None
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


def _warn_of_changed_image(run: OpenRun) -> None:
    sandbox = run.run.problem.settings.sandbox
    if image_id(sandbox) != run.run.image_id:
        say(f"warning: {sandbox.image} is not the image that the run was started with; scores may not be comparable")


def _warn_of_changed_files(run: OpenRun) -> None:
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
