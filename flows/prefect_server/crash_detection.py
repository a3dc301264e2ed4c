"""Detection of flow runs whose process has ended without setting a final state: they are marked as crashed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
"""Seconds without a heartbeat after which the server marks a night as crashed."""

_HEARTBEAT = "prefect.flow-run.heartbeat"
_NIGHT_FLOWS = ("search", "night")
_FLOW = {
    "prefect.resource.id": "prefect.flow.search",
    "prefect.resource.role": "flow",
    "prefect.resource.name": _NIGHT_FLOWS[0],
}
_MAX_FLOW_RUNS = 200


@contextlib.contextmanager
def without_wait_for_heartbeats() -> Iterator[None]:
    """Let flow runs within the block end without waiting for their heartbeat thread, which takes up to a second.

    The thread ends by itself: it looks once a second whether its flow run is over, before it sends anything.
    """
    from prefect import flow_engine

    send = flow_engine._send_heartbeats  # pyright: ignore[reportPrivateUsage]
    flow_engine._send_heartbeats = lambda engine, **_: send(engine, join_on_exit=False)  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        flow_engine._send_heartbeats = send  # pyright: ignore[reportPrivateUsage]


def watch_for_crashes(client: SyncPrefectClient, flow_run_id: UUID | None = None) -> None:
    """Have the server mark a night as crashed when its heartbeat stops, even if no process of ours is left.

    Args:
        client: Client of the server.
        flow_run_id: Flow run of a night that has begun: the server has not counted its first heartbeat, and the next
            one is half a minute away.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events import emit_event
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    if client.read_automations_by_name(AUTOMATION):
        return
    final_states = ("Completed", "Failed", "Cancelled", "Crashed")
    trigger = EventTrigger(
        posture=Posture.Proactive,
        after={_HEARTBEAT},
        expect={_HEARTBEAT, *(f"prefect.flow-run.{state}" for state in final_states)},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(_NIGHT_FLOWS)},
        for_each={"prefect.resource.id"},
        threshold=1,
        within=timedelta(seconds=_SILENCE_S),
    )
    crashed = ChangeFlowRunState(
        name="Crashed", state=StateType.CRASHED, message=f"no heartbeat for {_SILENCE_S} s", force=False
    )
    client.create_automation(AutomationCore(name=AUTOMATION, trigger=trigger, actions=[crashed]))
    if flow_run_id is not None:
        emit_event(_HEARTBEAT, {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}"}, related=[_FLOW])


def mark_crashed(client: SyncPrefectClient, run_id: str, own_id: UUID) -> int:
    """Mark flow runs of a run as crashed that no process executes any more, but not the caller's own.

    Only the holder of the run's lock may. Return how many were marked.
    """
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    # Not by flow run name: Prefect sets it only when the flow run starts, and a process may die before that.
    found = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[*_NIGHT_FLOWS, "generation"])),
        flow_run_filter=FlowRunFilter(state=_under_way()),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=_MAX_FLOW_RUNS,
    )
    dead = [flow_run for flow_run in found if _belongs_to(run_id, flow_run) and flow_run.id != own_id]
    for flow_run in dead:
        crashed = Crashed(message="its process ended without setting a final state")
        client.set_flow_run_state(flow_run.id, crashed, force=True)
    return len(dead)


def _belongs_to(run_id: str, flow_run: FlowRun) -> bool:
    """Return whether a flow run belongs to a run, except for a night that a worker is about to start."""
    is_starting = flow_run.deployment_id is not None and flow_run.state_type == "PENDING"
    return flow_run.parameters.get("run_id") == run_id and not is_starting


def mark_children_crashed(flow: object, flow_run: FlowRun, state: object) -> None:  # noqa: ARG001  (Prefect's names)
    """Mark the generations of a crashed night as crashed, since they have no heartbeat of their own. A Prefect hook."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]), state=_under_way())
    with get_client(sync_client=True) as client:
        for child in client.read_flow_runs(flow_run_filter=children, limit=_MAX_FLOW_RUNS):
            client.set_flow_run_state(child.id, Crashed(message="the process of its night ended"), force=True)


def _under_way() -> FlowRunFilterState:
    from prefect.client.schemas.filters import FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    alive = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=alive))
