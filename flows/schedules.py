"""Schedules of runs, kept by a Prefect server as deployments of `flows.scheduled:night`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

from prefect.blocks.system import Secret
from pydantic import ValidationError

from flows.artifacts import TAG
from flows.prefect_server.crash_detection import HEARTBEAT_S, watch_for_crashes
from flows.scheduled import night
from schemas.errors import UsageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.deployments.runner import RunnerDeployment

POOL = "overnight"

_PARAMETERS = {"run_id", "history", "start", "rules"}
"""Every schedule's nights have these."""


@dataclass(frozen=True)
class Schedule:
    """One schedule as it is told.

    Attributes:
        cron: Empty where somebody made it a schedule of another kind in Prefect's pages.
        parameters: Of every night, as the server keeps them.
        last: State of the last night that began, in words.
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
        """When the next night begins, in the schedule's time zone; `None` while it is paused, or without a cron."""
        from cronsim import CronSim

        if self.is_paused or not self.cron:
            return None
        return next(CronSim(self.cron, now.astimezone(ZoneInfo(self.time_zone))))


class Schedules:
    """The schedules of the server that Prefect's settings name."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def add(self, name: str, cron: CronSchedule, parameters: dict[str, Any], *, pool: str = POOL) -> None:
        """Makes a deployment: a night whenever the cron says. The run's own lock keeps two of them apart.

        Prefect's limit of one at a time would not do: it ends a night whose server was away for some minutes.

        Raises:
            UsageError: If there is one of this name.
        """
        from prefect.types.entrypoint import EntrypointType

        if any(one.name == name for one in self._deployments()):
            raise UsageError(
                f"there is a schedule {name!r} already",
                remedy=f"Give this one another --name, or remove that: overnight schedules remove {name}",
            )
        self._have_pool(pool)
        watch_for_crashes(self._client)
        deployment = night.to_deployment(
            name,
            schedule=cron,  # pyright: ignore[reportArgumentType]
            parameters=parameters,
            work_pool_name=pool,
            job_variables={"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}},
            tags=[TAG, parameters["run_id"]],
            description=f"Every night goes on with run {parameters['run_id']}.",
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        cast("RunnerDeployment", deployment).apply()

    def keep_notices(
        self, run_id: str, addresses: Sequence[str] | None, gain: float | None
    ) -> dict[str, str | float | None]:
        """Who is told of a run's nights, as a parameter of them: addresses are kept apart from it, encrypted."""
        told: dict[str, str | float | None] = {}
        if addresses:
            told["secret"] = _secret_of(run_id)
            cast("Any", Secret)(value=list(addresses)).save(_secret_of(run_id), overwrite=True)
        return told if gain is None else told | {"gain": gain}

    def all(self) -> list[Schedule]:
        """Every schedule, by name."""
        return sorted((self._told(one) for one in self._deployments()), key=lambda one: one.name)

    def remove(self, name: str) -> None:
        deployment = self._named(name)
        self._client.delete_deployment(deployment.id)
        if secret := (deployment.parameters.get("notices") or {}).get("secret"):
            with contextlib.suppress(ValueError):  # somebody else has removed it
                Secret.delete(secret)

    def pause(self, name: str) -> None:
        self._client.pause_deployment(self._named(name).id)

    def resume(self, name: str) -> None:
        self._client.resume_deployment(self._named(name).id)

    def change(self, name: str, *, cron: CronSchedule | None, parameters: dict[str, Any]) -> None:
        """Sets what is given; the rest stays. Nights that were planned before are planned anew."""
        from prefect.client.schemas.actions import DeploymentUpdate

        deployment = self._named(name)
        if parameters:
            merged = deployment.parameters | parameters
            self._client.update_deployment(deployment.id, DeploymentUpdate(parameters=merged))
        if cron is not None:
            for schedule in deployment.schedules:
                self._client.update_deployment_schedule(deployment.id, schedule.id, schedule=cron)

    def find(self, name: str) -> Schedule:
        """Raises: UsageError: If there is none of this name."""
        return self._told(self._named(name))

    def _deployments(self) -> list[DeploymentResponse]:
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName

        # On a server that is shared, others may have a flow of that name.
        found = self._client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[night.name])))
        return [one for one in found if one.parameters.keys() >= _PARAMETERS]

    def _named(self, name: str) -> DeploymentResponse:
        found = self._deployments()
        for one in found:
            if one.name == name:
                return one
        names = ", ".join(sorted(one.name for one in found)) or "there is none"
        raise UsageError(f"no schedule {name!r}; schedules: {names}", remedy="`overnight schedules` lists them.")

    def _have_pool(self, pool: str) -> None:
        from prefect.client.schemas.actions import WorkPoolCreate
        from prefect.exceptions import ObjectAlreadyExists

        with contextlib.suppress(ObjectAlreadyExists):
            self._client.create_work_pool(WorkPoolCreate(name=pool, type="process"))

    def _told(self, deployment: DeploymentResponse) -> Schedule:
        schedule: Any = deployment.schedules[0].schedule if deployment.schedules else None
        last = self._last_night(deployment)
        return Schedule(
            name=deployment.name,
            cron=getattr(schedule, "cron", ""),
            time_zone=getattr(schedule, "timezone", None) or ("UTC" if schedule else ""),
            is_paused=deployment.paused,
            parameters=deployment.parameters,
            last=_in_words(last) if last else "",
        )

    def _last_night(self, deployment: DeploymentResponse) -> FlowRun | None:
        """The last night that is begun, or was to be."""
        from prefect.client.schemas.filters import (
            DeploymentFilter,
            DeploymentFilterId,
            FlowRunFilter,
            FlowRunFilterState,
            FlowRunFilterStateType,
        )
        from prefect.client.schemas.objects import StateType
        from prefect.client.schemas.sorting import FlowRunSort

        begun = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=[StateType.SCHEDULED]))
        found = self._client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
            flow_run_filter=FlowRunFilter(state=begun),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
        return found[0] if found else None


def _secret_of(run_id: str) -> str:
    """Name of the block that holds the addresses; a run's id has the characters that Prefect allows."""
    return f"overnight-{run_id}"


def _in_words(run: FlowRun) -> str:
    state = run.state
    return "" if state is None else f"{state.name}{f': {state.message}' if state.message else ''}"


def cron_schedule(cron: str, time_zone: str) -> CronSchedule:
    """A cron line in a time zone.

    Raises:
        UsageError: If either is wrong.
    """
    from prefect.client.schemas.schedules import CronSchedule

    try:
        return CronSchedule(cron=cron, timezone=time_zone)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"--cron {cron!r} in {time_zone}: {message}",
            remedy="Minute, hour, day, month, weekday: --cron '0 22 * * 1-5' --time-zone Europe/Stockholm",
        ) from error


@contextlib.contextmanager
def open_schedules() -> Iterator[Schedules]:
    """The schedules of the server that is there.

    Raises:
        EnvironmentFault: If none answers.
    """
    from prefect.client.orchestration import get_client

    from flows.prefect_server.embedded import standing_server

    with standing_server(), get_client(sync_client=True) as client:
        yield Schedules(client)
