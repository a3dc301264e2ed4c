"""A night in the foreground: the server, the live view, Ctrl-C, and what is shown at the end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from prefect.exceptions import CancelledRun

from flows.cli.live_view import live_view, spent
from flows.cli.printing import err, history_flag, say
from flows.cli.summary import print_summary
from flows.create_run import image_id
from flows.notifications import Notifier
from flows.origin import problem_path
from flows.prefect_server.connection import outages, server_answers
from flows.prefect_server.embedded import PrefectServer
from flows.search import search
from flows.session import Session, open_session
from flows.signals import handle_interrupts
from flows.stop_conditions import StopConditions
from schemas.errors import EnvironmentFault, ExitCode, PrefectUnavailable, ProviderError
from schemas.generation import StopReason
from schemas.problem import changed_since
from tasks.history import record
from tasks.history.files import RunFiles
from tasks.sample.provider import litellm_module


def run_night(
    get_run: Callable[[], RunFiles],
    rules: StopConditions,
    history: Path,
    again: list[int] | None = None,
    notifier: Notifier | None = None,
) -> int:
    """Conducts one night, with a server of its own, and shows its end.

    Args:
        get_run: Makes or finds the run; called while the server starts.
        rules: When to stop.
        history: Directory of the history.
        again: Generations that failed, to be retried in place of new ones.
        notifier: Tells of the night.

    Returns:
        The exit code.
    """
    with PrefectServer() as server:
        _, result = run_with_view(server, get_run, rules, history, again, notifier)
    if again and set(again) & set(result["failed"]):
        return ExitCode.FAILED
    interrupted = result["stop_reason"] == StopReason.INTERRUPTED
    return ExitCode.INTERRUPTED if interrupted else ExitCode.DONE


def run_with_view(
    server: PrefectServer,
    get_run: Callable[[], RunFiles],
    rules: StopConditions,
    history: Path,
    again: list[int] | None = None,
    notifier: Notifier | None = None,
) -> tuple[str, dict[str, Any]]:
    """Conducts one night on a server and shows its end.

    Returns:
        The run's id, and what the search flow returns.
    """
    files = get_run()
    threading.Thread(target=litellm_module, daemon=True).start()  # while the server starts
    with open_session(files) as session, _told(files.run_id, history):
        session.notifier = notifier
        say(f"run {files.run_id}, seed {session.run.seed}")
        _warn_of_another_image(session)
        _warn_of_changed_files(session)
        night = len(files.nights()) + 1
        with (
            server.connected(session.progress.note),
            handle_interrupts(session.progress, server_answers, partial(_abandon, server, files, history)),
            live_view(session, rules),
        ):
            try:
                with outages():
                    result = search(files.run_id, str(history), rules, again)
            except PrefectUnavailable as error:
                result = _result_of(session, night, error)
    print_summary(history, files.run_id, result["night"], spent=spent(session.progress.budget))
    _tell_what_failed(files.run_id, result["failed"], history)
    return files.run_id, result


def _result_of(session: Session, night: int, error: PrefectUnavailable) -> dict[str, Any]:
    """Return what `search` would have, for a night that ended while its server was away.

    Raises:
        PrefectUnavailable: If the night did not come to its end.
    """
    files = session.files
    row = record.read_night(files, night, session.programs) if files.night(night).exists() else None
    if row is None or row.stop_reason is None or row.error:
        raise error
    say(f"warning: Prefect's pages do not show how the night ended: {error.message}")
    return {"stop_reason": row.stop_reason.value, "failed": sorted(session.failed), "night": night}


def _abandon(server: PrefectServer, files: RunFiles, history: Path) -> None:
    """Write down and say that the night ends by force."""
    server.kill()
    record.mark_night_interrupted(files)
    err().show_cursor()
    say(f"stopped at once; go on with: overnight resume {files.run_id}{history_flag(history)}")


def _tell_what_failed(run_id: str, failed: list[int], history: Path) -> None:
    if failed:
        numbers = ", ".join(map(str, failed))
        again = f"overnight retry {run_id}{history_flag(history)}"
        say(f"retry    {again}    (failed: generation{'s' * (len(failed) > 1)} {numbers})")


def _warn_of_another_image(session: Session) -> None:
    image = session.run.problem.settings.sandbox.image
    if image_id(image) != session.run.image_id:
        say(f"warning: {image} is not the image that the run was begun with; scores may not be comparable")


def _warn_of_changed_files(session: Session) -> None:
    run = session.run
    if changed := changed_since(run.problem, problem_path(run)):
        say(
            f"warning: {', '.join(changed)} changed since the run was begun, which goes on with what it was; "
            f"`overnight run` begins one with what it is"
        )


@contextlib.contextmanager
def _told(run_id: str, history: Path) -> Iterator[None]:
    """Says how to go on, where a night is stopped at once or by an error."""
    again = f"go on with: overnight resume {run_id}{history_flag(history)}"
    try:
        yield
    except (ProviderError, EnvironmentFault):
        say(f"what was reached is kept; {again}")
        raise
    except KeyboardInterrupt:
        say(f"stopped at once; {again}")
        raise
    except CancelledRun as error:
        say(f"cancelled in Prefect, and stopped at once; {again}")
        raise KeyboardInterrupt from error
