"""The flows: a search, which is a night of generations, and a generation, which a night starts or Prefect retries."""

from __future__ import annotations

import contextlib
import contextvars
from contextvars import ContextVar
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner

from overnight.flows.formatting import history_flag, score
from overnight.flows.night.attempt import ATTEMPT
from overnight.flows.night.night import Night
from overnight.flows.night.open_run import open_run
from overnight.flows.night.prefect_artifacts import PrefectArtifacts
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.prefect_server.night_state import NightState
from overnight.schemas.errors import UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.tasks.history import stored_run
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.files import files_of

_TASKS_AT_A_TIME = 256
"""Each batch in flight takes two: its evaluate task waits for its sample task."""

_CLIENT_RETRIES = 2
"""Times that a generation's request to Prefect's server is repeated, after 2 and 4 seconds."""


@flow(name="search", flow_run_name="{run_id}")
def search(run_id: str, history: str, rules: StopConditions, again: list[int] | None = None) -> Any:
    """Run one night of a run. Cancelled in Prefect's UI, it stops at once.

    Args:
        run_id: Id of a run that exists.
        history: Directory of the history, or its URL.
        rules: Stop conditions.
        again: Numbers of failed generations to be retried in this night in place of new ones.
    """
    with contextlib.ExitStack() as stack:
        night = NIGHT.get()
        if night is None:
            run = stack.enter_context(open_run(files_of(open_history(history), run_id)))
            night = stack.enter_context(Night(run, rules, again).begun())
        state = NightState(str(flow_run.id), night.run.progress.interrupt)
        try:
            with night.notifier.reporting_failure(run_id), state.monitored():
                return run_night(night)[0]
        except KeyboardInterrupt:
            if not state.was_cancelled:
                raise
            return stopped_at_once(run_id, night.run.files.backend)


@flow(
    name="generation",
    flow_run_name="{run_id}-g{number}",
    task_runner=ThreadPoolTaskRunner(max_workers=_TASKS_AT_A_TIME),  # pyright: ignore[reportArgumentType, reportCallIssue]
)
def generation(run_id: str, number: int, history: str) -> State[float]:
    """Do the work of one generation, as the night's core asks for it, and commit it; return the best score of the run.

    A flow run that Prefect retries has no night: it runs one of its own for this generation.
    """
    attempt = ATTEMPT.get()
    return attempt.work() if attempt else _run_alone(run_id, number, history)


def _run_alone(run_id: str, number: int, history: str) -> State[float]:
    """Run a night for one generation, which failed or is the next."""
    backend = open_history(history)
    past = stored_run.read_run_history(files_of(backend, run_id))
    best = max(program.score for program in past.programs.values())
    if not past.is_open(number):
        return Completed(message="it is committed already", data=best)
    if number > past.generations + 1:
        raise UsageError(
            f"generation {number} of {run_id} has no turn yet: {past.generations + 1} is the next",
            remedy=f"`overnight resume {run_id}{history_flag(backend)}` goes on with the next.",
        )
    again = [number] if number in past.failed else None
    result = search(run_id, history, StopConditions(generations=None if again else 1), again)
    return Completed(message=f"retried; best {score(result['best'])}", data=result["best"])


def run_night(night: Night) -> tuple[State[dict[str, Any]], Any]:
    """Run a night in the current flow run; return its final state and its artifacts."""
    artifacts = PrefectArtifacts(str(flow_run.id), night.run.progress.note)
    # A flow run without its own heartbeat thread ends a second sooner; the search's heartbeat goes on. The night
    # itself waits for a server that is down, so the client need not repeat its requests for a minute. To make
    # settings takes 20 ms, so it is done once, in the context that the generations run in.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_CLIENT_MAX_RETRIES: _CLIENT_RETRIES}):
        context = contextvars.copy_context()
    result = night.search(artifacts, str(flow_run.id or ""), context, generation)
    message = f"stopped by: {result['stop_reason']}; best {score(result['best'])}"
    return Completed(message=message, data=result), artifacts


def stopped_at_once(run_id: str, history: HistoryBackend) -> State[Any]:
    """Return the state of a night that was cancelled in Prefect's UI."""
    return Cancelled(message=f"stopped at once; continue with: overnight resume {run_id}{history_flag(history)}")


NIGHT: ContextVar[Night | None] = ContextVar("night", default=None)
"""The night that this thread has prepared before its flow run; none where the flow run opens the run itself."""
