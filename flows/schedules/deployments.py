"""Schedules of runs, which a Prefect server keeps as deployments of the flow `night` (`scheduled_night.py`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from prefect.blocks.system import Secret
from pydantic import ValidationError

from overnight.flows.night.prefect_artifacts import TAG
from overnight.flows.prefect_server.crash_detection import HEARTBEAT_S, watch_for_crashes
from overnight.flows.schedules.scheduled_night import night
from overnight.schemas.errors import UsageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.deployments.runner import RunnerDeployment

POOL = "overnight"

_FLOW_RUNS_OF_A_NIGHT = 10

_PARAMETERS = {"run_id", "history", "start", "rules"}
"""Parameters that every schedule has; they tell our deployments from those of other programs."""


@dataclass(frozen=True)
class Schedule:
    """One schedule, as it is shown to users.

    Attributes:
        cron: Cron line; empty if the schedule was changed to another kind in Prefect's UI.
        parameters: Parameters of every night, as the server stores them.
        last: Name and message of the state of the last night.
    """

    name: str
    cron: str
    time_zone: str
    is_paused: bool
    parameters: dict[str, Any]
    last: str

    @property
    def run_id(self) -> str:
        return self.parameters["run_id"]

    def next_night(self, now: datetime) -> datetime | None:
        """Return the start of the next night, in the schedule's time zone.

        `None` while paused, without a cron line, and for a line that names no time.
        """
        if self.is_paused or not self.cron:
            return None
        try:
            return next_time(self.cron, self.time_zone, now)
        except ValueError:  # changed by other means than ours, and no reason not to list the others
            return None


class Schedules:
    """Schedules on the Prefect server of a client."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def add(self, name: str, cron: CronSchedule, parameters: dict[str, Any], *, pool: str = POOL) -> None:
        """Create a deployment that starts a night at each time of the cron line, in a work pool that is made if needed.

        The run's lock prevents two nights at a time. Prefect's concurrency limit is not used, because it would end a
        night whose server was down for some minutes.

        Raises:
            UsageError: If a schedule has this name already.
        """
        try:
            self._add(name, cron, parameters, pool)
        except BaseException:
            _delete_secret(parameters)
            raise

    def _add(self, name: str, cron: CronSchedule, parameters: dict[str, Any], pool: str) -> None:
        from prefect.types.entrypoint import EntrypointType

        if any(deployment.name == name for deployment in self._deployments()):
            raise UsageError(
                f"schedule {name!r} exists already",
                remedy=f"Give this one another --name, or remove the other: overnight schedule remove {name}",
            )
        self._create_pool(pool)
        watch_for_crashes(self._client)
        deployment = night.to_deployment(
            name,
            schedule=cron,  # pyright: ignore[reportArgumentType]
            parameters=parameters,
            work_pool_name=pool,
            job_variables={"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}},
            tags=[TAG, parameters["run_id"]],
            description=f"Every night continues run {parameters['run_id']}.",
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        cast("RunnerDeployment", deployment).apply()

    def save_notification_settings(
        self, run_id: str, addresses: Sequence[str] | None, gain: float | None
    ) -> dict[str, str | float | None]:
        """Store the notification addresses of a run encrypted on the server.

        Return the nights' parameter `notices`, which names the secret block in place of the addresses.
        """
        notices: dict[str, str | float | None] = {}
        if addresses:
            notices["secret"] = _secret_name(run_id)
            cast("Any", Secret)(value=list(addresses)).save(_secret_name(run_id), overwrite=True)
        if gain is not None:
            notices["gain"] = gain
        return notices

    def all(self) -> list[Schedule]:
        """Return every schedule, sorted by name."""
        schedules = [self._schedule_of(deployment) for deployment in self._deployments()]
        return sorted(schedules, key=lambda schedule: schedule.name)

    def remove(self, name: str) -> None:
        deployment = self._named(name)
        self._client.delete_deployment(deployment.id)
        _delete_secret(deployment.parameters)

    def pause(self, name: str) -> None:
        self._client.pause_deployment(self._named(name).id)

    def resume(self, name: str) -> None:
        self._client.resume_deployment(self._named(name).id)

    def change(self, name: str, *, cron: CronSchedule | None, parameters: dict[str, Any]) -> None:
        """Change the given values and keep the others; the server then plans the nights to come anew."""
        from prefect.client.schemas.actions import DeploymentUpdate

        deployment = self._named(name)
        if parameters:
            merged = deployment.parameters | parameters
            self._client.update_deployment(deployment.id, DeploymentUpdate(parameters=merged))
        if cron is not None:
            for schedule in deployment.schedules:
                self._client.update_deployment_schedule(deployment.id, schedule.id, schedule=cron)

    def find(self, name: str) -> Schedule:
        """Return the schedule of a name; raise a UsageError if there is none."""
        return self._schedule_of(self._named(name))

    def _deployments(self) -> list[DeploymentResponse]:
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName

        # On a shared server, another program may have a flow of the same name.
        found = self._client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[night.name])))
        return [deployment for deployment in found if deployment.parameters.keys() >= _PARAMETERS]

    def _named(self, name: str) -> DeploymentResponse:
        deployments = self._deployments()
        for deployment in deployments:
            if deployment.name == name:
                return deployment
        names = ", ".join(sorted(deployment.name for deployment in deployments)) or "none"
        raise UsageError(f"no schedule {name!r}; schedules: {names}", remedy="`overnight schedule list` lists them.")

    def _create_pool(self, pool: str) -> None:
        from prefect.client.schemas.actions import WorkPoolCreate
        from prefect.exceptions import ObjectAlreadyExists

        with contextlib.suppress(ObjectAlreadyExists):
            self._client.create_work_pool(WorkPoolCreate(name=pool, type="process"))

    def _schedule_of(self, deployment: DeploymentResponse) -> Schedule:
        schedule: Any = deployment.schedules[0].schedule if deployment.schedules else None
        last = self._last_night(deployment)
        return Schedule(
            name=deployment.name,
            cron=getattr(schedule, "cron", ""),
            time_zone=getattr(schedule, "timezone", None) or ("UTC" if schedule else ""),
            is_paused=deployment.paused,
            parameters=deployment.parameters,
            last=_state_text(last) if last else "",
        )

    def _last_night(self, deployment: DeploymentResponse) -> FlowRun | None:
        """Return the last night that has begun or was due to begin."""
        from prefect.client.schemas.filters import (
            DeploymentFilter,
            DeploymentFilterId,
            FlowRunFilter,
            FlowRunFilterState,
            FlowRunFilterStateType,
        )
        from prefect.client.schemas.objects import StateType
        from prefect.client.schemas.sorting import FlowRunSort

        not_planned = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=[StateType.SCHEDULED]))
        found = self._client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
            flow_run_filter=FlowRunFilter(state=not_planned),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=_FLOW_RUNS_OF_A_NIGHT,
        )
        # A night that died and goes on has several flow runs, due at the same time.
        due = [flow_run for flow_run in found if flow_run.expected_start_time == found[0].expected_start_time]
        return max(due, key=lambda flow_run: flow_run.created or datetime.min.replace(tzinfo=UTC), default=None)


def _secret_name(run_id: str) -> str:
    """Return the name of the block with the addresses; a run's id has only characters that Prefect allows."""
    return f"overnight-{run_id}"


def _delete_secret(parameters: dict[str, Any]) -> None:
    if secret := (parameters.get("notices") or {}).get("secret"):
        with contextlib.suppress(ValueError):  # it was removed by other means
            Secret.delete(secret)


def _state_text(flow_run: FlowRun) -> str:
    state = flow_run.state
    if state is None:
        return ""
    return f"{state.name}: {state.message}" if state.message else str(state.name)


def require_name(flag: str, name: str) -> str:
    """Return the name of a deployment or a work pool; raise a UsageError if Prefect does not take it."""
    from prefect.types.names import BANNED_CHARACTERS

    is_reserved = flag == "--pool" and name.lower().startswith("prefect")
    if is_reserved or any(character in name for character in BANNED_CHARACTERS) or not name.strip("' \""):
        start = ", not beginning with `prefect`" if flag == "--pool" else ""
        raise UsageError(
            f"{flag}: expected a name without {' '.join(BANNED_CHARACTERS)}{start}, got {name!r}",
            remedy=f"Give it another name, such as {flag} nights",
        )
    return name


def next_time(cron: str, time_zone: str, now: datetime) -> datetime:
    """Return the next time of a cron line, as the Prefect server computes it.

    Raises:
        ValueError: If the line is invalid or names no time, such as 31 February.
    """
    from prefect.server.schemas.schedules import CronSchedule

    (moment,) = asyncio.run(CronSchedule(cron=cron, timezone=time_zone).get_dates(n=1, start=now))
    return moment


def cron_schedule(cron: str, time_zone: str) -> CronSchedule:
    """Return the schedule of a cron line in a time zone; raise a UsageError if it is wrong, or names no time."""
    from prefect.client.schemas.schedules import CronSchedule

    remedy = "Minute, hour, day, month, weekday: --cron '0 22 * * 1-5' --time-zone Europe/Stockholm"
    fields = cron.split()
    # Prefect takes seconds and years, too, which the order of the fields gives another meaning than users expect.
    if len(fields) != 5 and not cron.startswith("@"):
        raise UsageError(f"--cron {cron!r}: expected five fields, got {len(fields)}", remedy=remedy)
    try:
        schedule = CronSchedule(cron=cron, timezone=time_zone)
        next_time(cron, time_zone, datetime.now(UTC))
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"--cron {cron!r} in {time_zone}: {message}", remedy=remedy) from error
    except ValueError as error:
        raise UsageError(f"--cron {cron!r} names no time at which a night could start", remedy=remedy) from error
    return schedule


@contextlib.contextmanager
def open_schedules() -> Iterator[Schedules]:
    """Yield the schedules of the standing Prefect server, which has to answer."""
    from prefect.client.orchestration import get_client

    from overnight.flows.prefect_server.embedded import standing_server

    with standing_server(), get_client(sync_client=True) as client:
        yield Schedules(client)
