"""A night that a schedule starts: the first begins the run, each one after it goes on with it."""

# Annotations are not postponed here: Prefect's `serve` pickles the flow without what only annotations name.

import contextlib
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from prefect import flow, get_run_logger
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled
from pydantic import BaseModel, ConfigDict, Field

from flows.create_run import create_run
from flows.deadlines import parse_until
from flows.environment import prepare
from flows.notifications import Notifier, addresses_of
from flows.prefect_server.crash_detection import mark_children_crashed
from flows.prefect_server.night_state import NightState, outlive_leases, server_answers, wait_for_server
from flows.report.build import build_report
from flows.search import Night, stopped_at_once
from flows.session import Session, open_session
from flows.signals import handle_interrupts
from flows.stop_conditions import StopConditions
from flows.trust import accept, remember
from schemas.errors import OvernightError, RunIsBusy, UsageError
from schemas.problem import load_problem
from schemas.trust import Proposal, given_proposals
from tasks.history.database import Database
from tasks.history.files import RunFiles, files_of
from tasks.history.private_files import open_private
from tasks.history.record import mark_night_interrupted
from tasks.history.remote.mirror import local_copy
from tasks.history.remote.sync import refresh
from tasks.history.run_lock import run_lock
from tasks.problems import find
from tasks.report.page import render

_LAST_WORDS_S = 300.0
"""How long a night that has ended waits for a server that is away, to say so."""


class Start(BaseModel):
    """What the run is begun with, in its first night."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problem: str = Field(description="name of a built-in problem, or the specification's path where the worker runs")
    settings: dict[str, Any] = Field(default={}, description="settings over those of the specification")
    seed: int = Field(description="everything random comes from it")
    accepted: list[tuple[str, str]] = Field(
        default=[], description="settings that reach outside of the sandbox, with the values that were accepted"
    )

    def proposals(self) -> list[Proposal]:
        """Return what whoever made the schedule accepted, by flags or by `--trust-settings`."""
        return [*given_proposals(self.settings), *(Proposal(setting, value, "") for setting, value in self.accepted)]


class Deadline(BaseModel):
    """When each night ends, counted from the moment it was scheduled for, however late it begins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: str = Field(description="time of day or duration: 07:00, 7h30m")
    time_zone: str = Field(description="of the time of day, such as Europe/Stockholm")


class NotificationSettings(BaseModel):
    """Who is told of each night."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: str | None = Field(default=None, description="Prefect Secret block with addresses, by name")
    gain: float | None = Field(default=None, description="tell of a new best whenever it has risen by this")

    def notifier(self) -> Notifier:
        """Tells those whom the block names, or else the worker's environment. Without the block nobody is told."""
        warn = get_run_logger().warning
        try:
            return Notifier(self._addresses(), self.gain, warn)
        except (ValueError, UsageError) as error:
            warn(f"nobody is told of this night: {error}")
            return Notifier()

    def _addresses(self) -> list[str]:
        return addresses_of(None if self.secret is None else cast("Any", Secret.load(self.secret)).get())


@flow(name="night", flow_run_name="{run_id}")
def night(
    run_id: str,
    history: str,
    start: Start,
    rules: StopConditions,
    deadline: Deadline | None = None,
    notices: NotificationSettings | None = None,
) -> State[dict[str, Any]]:
    """One night of a run. Where another is under way, this one is cancelled at once.

    Args:
        run_id: The run; begun if it is not there.
        history: Directory of the history, or where it is on object storage.
        start: What it is begun with.
        rules: When to stop.
        deadline: The same every night, in place of `rules.until`.
        notices: Who is told.
    """
    prepare()
    if deadline is not None:
        rules = rules.model_copy(update={"until": _moment(deadline)})
    with (notices or NotificationSettings()).notifier().watching(run_id) as notifier:
        place = local_copy(history)
        refresh(place)
        try:
            with open_session(begin(run_id, place, start)) as session:
                over = _spend(session, rules, place, notifier)
        except RunIsBusy as error:
            return Cancelled(message=f"{error.message}; nothing was done")
        wait_for_server(_LAST_WORDS_S)
        return over


def _spend(session: Session, rules: StopConditions, place: Path, notifier: Notifier) -> State[dict[str, Any]]:
    """Spend a night of an open session, whatever the server believes of it, and write its report."""
    state = NightState(str(flow_run.id), session.progress.interrupt, has_worker=True)
    try:
        with (
            handle_interrupts(session.progress, server_answers, partial(mark_night_interrupted, session.files)),
            state.kept_true(),
        ):
            one = Night(session, rules, str(place), notifier=notifier)
            over = one.run()
    except KeyboardInterrupt:
        if not state.was_cancelled:
            raise
        session.stop_now()
        return stopped_at_once(session.run.run_id, place)
    with contextlib.suppress(OvernightError, OSError):
        one.pages.report(write_report(place, session.files))
    return over


night.on_crashed(mark_children_crashed)
outlive_leases()


def write_report(history: Path, files: RunFiles) -> Path:
    """Writes the report of a run into its folder, and says where.

    Raises:
        OvernightError: If the history cannot be read.
        OSError: If it cannot be written.
    """
    path = files.directory / "report.html"
    with open_private(path, "wb") as file:
        file.write(render(build_report(Database(history), files)).encode())
    return path.resolve()


def _moment(deadline: Deadline) -> datetime:
    # A plain datetime: Prefect's own kind loses its zone in arithmetic.
    begin = datetime.fromtimestamp(flow_run.scheduled_start_time.timestamp(), ZoneInfo(deadline.time_zone))
    return parse_until(deadline.until, begin)


def begin(run_id: str, history: Path, start: Start) -> RunFiles:
    """The run of this id, which is begun if it is not there.

    Raises:
        RunIsBusy: If another process has it open.
        SpecificationError: If the start program has no score.
        EnvironmentFault: If there is no sandbox, or no key for a model.
    """
    remember(start.proposals())
    files = files_of(history, run_id)
    if not files.run.exists():
        with run_lock(files):
            if not files.run.exists():  # else another process was quicker
                path = find(start.problem)
                problem = load_problem(path, start.settings)
                accept(problem)
                create_run(problem, path, history, seed=start.seed, run_id=run_id)
    return files
