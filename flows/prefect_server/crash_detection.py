"""Flow runs whose process is gone, shown as crashed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Crashed

if TYPE_CHECKING:
    from prefect.client.schemas.filters import FlowRunFilterState
    from prefect.client.schemas.objects import FlowRun

HEARTBEAT_S = 30
AUTOMATION = "overnight: a night without a heartbeat has crashed"
_SILENCE_S = 90
_NIGHTS = ("search", "night")
_MOST = 200


def watch_for_crashes(client: SyncPrefectClient) -> None:
    """Has the server show a night as crashed when its heartbeat stops, even where nobody is left to say so."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    if client.read_automations_by_name(AUTOMATION):
        return
    beat, ends = "prefect.flow-run.heartbeat", ("Completed", "Failed", "Cancelled", "Crashed")
    trigger = EventTrigger(
        posture=Posture.Proactive,
        after={beat},
        expect={beat, *(f"prefect.flow-run.{end}" for end in ends)},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(_NIGHTS)},
        for_each={"prefect.resource.id"},
        threshold=1,
        within=timedelta(seconds=_SILENCE_S),
    )
    crashed = ChangeFlowRunState(
        name="Crashed", state=StateType.CRASHED, message=f"no heartbeat for {_SILENCE_S} s", force=False
    )
    client.create_automation(AutomationCore(name=AUTOMATION, trigger=trigger, actions=[crashed]))


def mark_crashed(client: SyncPrefectClient, run_id: str, own_id: UUID) -> int:
    """Shows flow runs of a run as crashed that no process runs any more. Only the holder of the run's lock may.

    Args:
        client: Of the server.
        run_id: Of the run that is locked.
        own_id: Flow run that is alive: the caller's.

    Returns:
        How many there were.
    """
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    # Not by name: a flow run has the name that Prefect draws until it begins, which it may not live to do.
    found = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[*_NIGHTS, "generation"])),
        flow_run_filter=FlowRunFilter(state=_under_way()),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=_MOST,
    )
    gone = [one for one in found if _is_of(run_id, one) and one.id != own_id]
    for one in gone:
        client.set_flow_run_state(one.id, Crashed(message="its process ended without a word"), force=True)
    return len(gone)


def _is_of(run_id: str, one: FlowRun) -> bool:
    """Whether it is a run's, and no night that a worker is just about to begin."""
    is_a_worker_s = one.deployment_id is not None and one.state_type == "PENDING"
    return one.parameters.get("run_id") == run_id and not is_a_worker_s


def mark_children_crashed(flow: object, flow_run: FlowRun, state: object) -> None:  # noqa: ARG001  (Prefect's names)
    """A hook of a night that crashed: its generation, which has no heartbeat of its own, has crashed, too."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]), state=_under_way())
    with get_client(sync_client=True) as client:
        for one in client.read_flow_runs(flow_run_filter=children, limit=_MOST):
            client.set_flow_run_state(one.id, Crashed(message="the process of its night ended"), force=True)


def _under_way() -> FlowRunFilterState:
    from prefect.client.schemas.filters import FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    alive = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=alive))
