"""Worker of `overnight schedule serve`: it outlives outages of Prefect's server, and goes on with nights that died."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import shlex
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled
from prefect.workers.process import ProcessWorker

from overnight.flows.formatting import error_text, printable
from overnight.flows.night.notifications import Notification
from overnight.flows.prefect_server.connection import is_outage
from overnight.flows.schedules.scheduled_night import Deadline, NotificationSettings, night
from overnight.schemas.errors import OvernightError, RunIsBusy
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.files import files_of
from overnight.tasks.history.night_log import log_line
from overnight.tasks.history.record import mark_night_given_up
from overnight.tasks.history.run_lock import run_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

_MOST_DEATHS = 3
"""Deaths of one night after which nobody goes on with it."""

_TOLD = "overnight.death-told"
"""Label of a dead night's flow run whose death was told."""

_LATELY_S = 180.0
"""Seconds after the last answer of the server for which nights count as able to start."""

_LONGEST_NIGHT = timedelta(days=7)
"""Age of the oldest night that is looked at."""

_MOST_CHARS = 300
"""Most characters of the server's answer that are shown."""

_FAULTS = (OvernightError, httpx.HTTPError, ObjectNotFound, OSError, ValueError, LookupError)
"""Faults of one dead night, beside outages: of its history, its flow run, or parameters of another version."""


class NightWorker(ProcessWorker, abc.ABC):  # an ABC, which Prefect does not register as a worker type
    """Prefect worker that keeps polling for nights however long the server is down.

    Prefect's own worker gives up after some minutes, and ends the flow runs under way.

    Attributes:
        report: Function that shows a message to the user.
        is_draining: Whether no night starts any more, not even in place of one that died.
    """

    def __init__(self, *args: Any, report: Callable[[str], None] = lambda _: None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.report = report
        self.is_draining = False
        self._polled_at = float("-inf")
        self._dead: set[UUID] = set()
        self._settled: set[UUID] = set()

    @property
    def has_polled_lately(self) -> bool:
        """Whether the server has answered in the last minutes, so that a night that is due would start."""
        return time.monotonic() - self._polled_at < _LATELY_S

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        if self.is_draining:
            return []
        with _outages_ignored():
            await self._go_on_with_dead_nights()
            submitted = await super().get_and_submit_flow_runs()
            self._polled_at = time.monotonic()
            return submitted
        return []

    async def sync_with_backend(self) -> None:
        with _outages_ignored():
            await super().sync_with_backend()

    async def _go_on_with_dead_nights(self) -> None:
        """Plan nights anew whose process has died before their deadline; they go on from the files of their run.

        A night that is alive, but that the server has lost sight of, corrects its state within seconds. So a dead night
        has to be found twice.
        """
        crashed = await self._crashed_nights()
        for flow_run in crashed:
            if flow_run.id in self._dead - self._settled:
                twins = [other for other in crashed if _name(other) == _name(flow_run)]
                with _outages_ignored():  # after one, the night is looked at again at the next poll
                    await self._settle(flow_run, len(twins))
        self._dead = {flow_run.id for flow_run in crashed}

    async def _settle(self, flow_run: FlowRun, deaths: int) -> None:
        """Go on with a dead night, or give it up, and tell it. What is at fault in one night is reported once.

        Raises:
            httpx.HTTPError: In an outage of the server.
        """
        try:
            await self._tell(flow_run, await self._go_on_with(flow_run, deaths))
        except _FAULTS as error:
            if is_outage(error):
                raise
            run_id = flow_run.parameters.get("run_id")
            self.report(
                f"the night of {run_id} has died; going on with it, or telling of it, failed: {error_text(error)}"
            )
        self._settled.add(flow_run.id)

    async def _crashed_nights(self) -> list[FlowRun]:
        found = await self.client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[night.name])),
            flow_run_filter=FlowRunFilter.model_validate(
                {
                    "state": {"type": {"any_": [StateType.CRASHED]}},
                    "expected_start_time": {"after_": datetime.now(UTC) - _LONGEST_NIGHT},
                }
            ),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self._work_pool_name])),
        )
        return [flow_run for flow_run in found if flow_run.deployment_id]

    async def _go_on_with(self, flow_run: FlowRun, deaths: int) -> str:
        """Plan a dead night anew, if it may go on; return why it may not, or an empty string."""
        due, deadline = flow_run.expected_start_time, flow_run.parameters.get("deadline")
        if due is None or flow_run.deployment_id is None or not deadline:
            return "its schedule has no --until"
        if Deadline.model_validate(deadline).after(due) <= datetime.now(UTC):
            return "its deadline has passed"
        if deaths > _MOST_DEATHS:
            return f"it has died {deaths} times"
        try:
            if (await self.client.read_deployment(flow_run.deployment_id)).paused:
                return "its schedule is paused"
            # With this key, only one of several workers plans it.
            await self.client.create_flow_run_from_deployment(
                flow_run.deployment_id,
                parameters=flow_run.parameters,
                state=Scheduled(scheduled_time=due),
                idempotency_key=f"goes-on-{flow_run.id}",
            )
        except ObjectNotFound:
            return "its schedule was removed"
        except httpx.HTTPStatusError as error:
            if is_outage(error):
                raise
            return f"Prefect's server refuses it: {printable(error.response.text[:_MOST_CHARS])}"
        return ""

    async def _tell(self, flow_run: FlowRun, why_not: str) -> None:
        """Say once that a night has died, also after a restart of `serve`: here, to its addresses, in the history."""
        if _TOLD in flow_run.labels:
            return
        await self.client.update_flow_run_labels(flow_run.id, {_TOLD: True})
        follows = f"it is given up, since {why_not}" if why_not else "it is begun again"
        text = f"the night of {flow_run.parameters.get('run_id')} has died; {follows}"
        self.report(text)
        await asyncio.to_thread(_note_death, flow_run.parameters, text, why_not, self.report)


def _note_death(parameters: Mapping[str, Any], text: str, why_not: str, warn: Callable[[str], None]) -> None:
    """Send a message to the notified addresses of a schedule; write into the history that its night is given up."""
    settings = NotificationSettings.model_validate(parameters.get("notices") or {})
    run_id, place = str(parameters["run_id"]), str(parameters["history"])
    follow = f"Continue it yourself: overnight resume {run_id} --history {shlex.quote(place)}"
    with settings.notifier(warn).reporting_failure(run_id) as notifier:
        notifier.report(Notification("failure", f"Overnight: {run_id}, a night has died", f"{text}.\n{follow}"))
    if why_not:
        files = files_of(open_history(place), run_id)
        with contextlib.suppress(RunIsBusy), run_lock(files):  # somebody else goes on with it
            mark_night_given_up(files, why_not)
            log_line(files, files.last_night(), f"given up: {why_not}")


def _name(flow_run: FlowRun) -> tuple[UUID | None, datetime | None]:
    """Return what flow runs of one night share, of which each but the last has died."""
    return flow_run.deployment_id, flow_run.expected_start_time


@contextlib.contextmanager
def _outages_ignored() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        if not is_outage(error):
            raise
