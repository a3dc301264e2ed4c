"""Flow of a scheduled night: the first night creates the run, each later one continues it."""

# No postponed annotations: Prefect's `serve` pickles the flow without names that only annotations use.

import contextlib
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, cast
from zoneinfo import ZoneInfo

import httpx
from prefect import flow, get_run_logger
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled
from pydantic import BaseModel, ConfigDict, Field

from overnight.flows.environment import prepare
from overnight.flows.night.deadlines import parse_until
from overnight.flows.night.given_starts import create_run_from
from overnight.flows.night.night import Night
from overnight.flows.night.notifications import Notification, Notifier, notification_addresses
from overnight.flows.night.open_run import OpenRun, open_run
from overnight.flows.night.prefect_artifacts import PrefectArtifacts
from overnight.flows.night.search import run_night, stopped_at_once
from overnight.flows.night.signals import handle_interrupts
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.prefect_server.connection import server_answers, wait_for_server
from overnight.flows.prefect_server.crash_detection import mark_children_crashed
from overnight.flows.prefect_server.night_state import NightState
from overnight.flows.report.build import build_report, draw_report, write_report
from overnight.flows.start.trust import accept, remember
from overnight.schemas.errors import OvernightError, RunIsBusy
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.trust import Proposal, given_proposals
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.night_log import log_line
from overnight.tasks.history.record import mark_night_interrupted
from overnight.tasks.history.run_lock import run_lock
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem

_FINAL_STATE_TIMEOUT_S = 300.0
"""Seconds that a finished night waits for a server that is down, to set its final state there."""


_SINCE = """
SELECT min(night) AS first, sum(generations)::BIGINT AS generations, sum(samples)::BIGINT AS max_samples
FROM nights WHERE run_id = ? AND started_at >= ?::TIMESTAMPTZ AND (ended_at IS NULL OR stop_reason = 'interrupted')
"""
_PAID_SINCE = """
SELECT
    coalesce(sum(greatest(cost_usd, 0)), 0.0) AS cost_usd, coalesce(sum(tokens_in + tokens_out), 0)::BIGINT AS tokens
FROM costs WHERE run_id = ? AND night >= ?
"""


class Start(BaseModel):
    """Problem and settings with which the first night creates the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problem: str = Field(description="name of a built-in problem, or the specification's path where the worker runs")
    settings: dict[str, Any] = Field(default={}, description="settings that override the specification's")
    starts: list[str] = Field(default=[], description="further programs to begin with: of files, or of runs")
    seed: int = Field(description="source of everything random")
    accepted: list[tuple[str, str]] = Field(
        default=[], description="accepted settings that reach outside of the sandbox, with their values"
    )

    def proposals(self) -> list[Proposal]:
        """Return the proposals that were accepted when the schedule was made, by flags or by `--trust-settings`."""
        return [*given_proposals(self.settings), *(Proposal(setting, value, "") for setting, value in self.accepted)]


class Deadline(BaseModel):
    """Deadline of each night, relative to its scheduled start even if it begins late."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: str = Field(description="time of day or duration: 07:00, 7h30m")
    time_zone: str = Field(description="time zone of the time of day, such as Europe/Stockholm")

    def after(self, due: datetime) -> datetime:
        """Return the deadline of the night that was due at a time."""
        # A plain datetime, since Prefect's own class loses its time zone in arithmetic.
        return parse_until(self.until, datetime.fromtimestamp(due.timestamp(), ZoneInfo(self.time_zone)))


class NotificationSettings(BaseModel):
    """Notifications of each night."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: str | None = Field(default=None, description="name of the Prefect Secret block with the addresses")
    gain: float | None = Field(default=None, description="rise of the best score that is worth a notification")

    def notifier(self, warn: Callable[[str], None]) -> Notifier:
        """Return a notifier for the addresses of the block, or of the worker's environment if no block is named.

        If the block cannot be read or an address is wrong, the notifier sends nothing, and `warn` says so.
        """
        try:
            given = None if self.secret is None else cast("Any", Secret.load(self.secret)).get()
            return Notifier(notification_addresses(given), self.gain, warn)
        except (ValueError, OvernightError, httpx.HTTPError) as error:
            warn(f"no notifications are sent for this night: {error}")
            return Notifier()


@flow(name="night", flow_run_name="{run_id}")
def night(
    run_id: str,
    history: str,
    start: Start,
    rules: StopConditions,
    deadline: Deadline | None = None,
    notices: NotificationSettings | None = None,
) -> State[dict[str, Any]]:
    """Run one night of a run. If another night of it is under way, this one is cancelled at once.

    Args:
        run_id: Id of the run, which is created if it does not exist.
        history: Directory of the history, or its URL on object storage.
        start: Problem and settings for creating the run.
        rules: Stop conditions.
        deadline: Deadline of every night, in place of `rules.until`.
        notices: Notifications of the night.
    """
    prepare()
    if deadline is not None:
        rules = rules.model_copy(update={"until": deadline.after(flow_run.scheduled_start_time)})
    _log_to_stderr()
    with (notices or NotificationSettings()).notifier(get_run_logger().warning).reporting_failure(run_id) as notifier:
        backend = open_history(history)
        try:
            with _logging_why_not(files_of(backend, run_id)):
                backend.refresh()
                with open_run(create_if_missing(run_id, backend, start)) as run:
                    left = what_is_left(rules, run.files, flow_run.scheduled_start_time)
                    final_state = _run_night(run, left, notifier)
        except RunIsBusy as error:
            said = f"{error.message}; this night has done nothing"
            notifier.report(Notification("warning", f"Overnight: {run_id}, a night did not start", said))
            return Cancelled(message=said)
        wait_for_server(_FINAL_STATE_TIMEOUT_S)
        return final_state


def _log_to_stderr() -> None:
    """Print the lines of nights' logs on stderr, which is that of `overnight schedule serve` or of a worker."""
    logger = logging.getLogger("overnight")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


@contextlib.contextmanager
def _logging_why_not(files: RunFiles) -> Iterator[None]:
    """Write an error to the log of the night that it keeps from starting."""
    night = files.last_night() + 1
    try:
        yield
    except Exception as error:
        if files.last_night() < night:
            log_line(files, night, f"not started: {error or type(error).__name__}")
        raise


def what_is_left(rules: StopConditions, files: RunFiles, due: datetime) -> StopConditions:
    """Return what is left of a night's limits after nights of the run that began since it was due, but died."""
    database = Database(files.backend.root, files.run_id)
    (spent,) = database.rows(_SINCE, [files.run_id, due.isoformat()])
    first = spent.pop("first")
    if not first:
        return rules
    (paid,) = database.rows(_PAID_SINCE, [files.run_id, first])
    return rules.after(spent | {"max_tokens": paid["tokens"], "budget_usd": paid["cost_usd"]})


def _run_night(run: OpenRun, conditions: StopConditions, notifier: Notifier) -> State[dict[str, Any]]:
    state = NightState(str(flow_run.id), run.progress.interrupt, has_worker=True)
    try:
        with (
            handle_interrupts(run.progress, server_answers, partial(mark_night_interrupted, run.files)),
            state.monitored(),
        ):
            current = Night(run, conditions, notifier=notifier)
            get_run_logger().info(current.in_flight)
            with current.begun():
                final_state, artifacts = run_night(current)
    except KeyboardInterrupt:
        if not state.was_cancelled:
            raise
        run.stop_now()
        return stopped_at_once(run.run.run_id, run.files.backend)
    with contextlib.suppress(OvernightError, OSError):
        _report_night(current, artifacts, run.files)
    return final_state


def _report_night(current: Night, artifacts: PrefectArtifacts, files: RunFiles) -> None:
    """Write the report of a run and link it; then draw its programs, and write it again with their pictures."""
    database = Database(files.backend.root, files.run_id)
    report = build_report(database, files)
    artifacts.link_report(write_report(files, report))
    if not report.run.problem.draws:
        return
    drawings = draw_report(database, report)
    write_report(files, report, drawings)
    current.show_drawings(drawings)


night.on_crashed(mark_children_crashed)


def create_if_missing(run_id: str, history: HistoryBackend, start: Start) -> RunFiles:
    """Return the files of the run of an id; create the run if it does not exist.

    Raises:
        RunIsBusy: If another process has the run open.
        SpecificationError: If the start program has no score.
        EnvironmentFault: If there is no sandbox, or a model's key is missing.
    """
    remember(start.proposals())
    files = files_of(history, run_id)
    if not files.run.exists():
        with run_lock(files):
            if not files.run.exists():  # another process may have created it meanwhile
                path = find(start.problem)
                problem = accept(load_problem(path, start.settings))
                create_run_from(problem, path, history, start.starts, seed=start.seed, run_id=run_id)
    return files
