"""Deletion of old flow runs and events from the database of a server that Overnight starts.

Without it the database would grow without limit. Results of nights are in the history and are not touched, nor are
flow runs of other programs in the same database.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx

from overnight.flows.prefect_server.connection import quick_client
from overnight.schemas.errors import UsageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

VARIABLE = "OVERNIGHT_PREFECT_KEEP"
DEFAULT = "7d"
_HOURS = {"h": 1, "d": 24, "w": 168}
_INTERVAL_S = 3600.0
"""Seconds between two rounds of deletions."""

_DELAY_S = 0.02
"""Seconds between two deletions, so that a night which writes to the same database is not held up."""

_PAGE_SIZE = 200
_FLOWS = ("search", "night", "generation")


def kept_for() -> timedelta:
    """Return the time for which flow runs and events are kept, from OVERNIGHT_PREFECT_KEEP."""
    text = os.environ.get(VARIABLE) or DEFAULT
    match = re.fullmatch(r"(\d+)([hdw])", text.strip())
    if match is None or not int(match[1]):
        raise UsageError(f"{VARIABLE} takes hours, days or weeks, got {text!r}", remedy=f"export {VARIABLE}=30d")
    return timedelta(hours=int(match[1]) * _HOURS[match[2]])


def environment_of_pruning() -> dict[str, str]:
    """Return the environment variables by which the server itself deletes old events."""
    return {"PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{int(kept_for().total_seconds())}S"}


@contextlib.contextmanager
def pruning() -> Iterator[None]:
    """Delete old flow runs at once and then every hour while the block lasts; errors of the server are ignored."""
    is_over = threading.Event()
    context = contextvars.copy_context()  # with the address of the server
    threading.Thread(target=context.run, args=(_prune_hourly, is_over), daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def _prune_hourly(is_over: threading.Event) -> None:
    with quick_client() as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                prune(client, datetime.now(UTC) - kept_for(), is_over)
            if is_over.wait(_INTERVAL_S):
                return


def prune(client: SyncPrefectClient, before: datetime, is_over: threading.Event | None = None) -> int:
    """Delete flow runs of nights and generations that ended before a moment, with their artifacts; return how many."""
    is_over = is_over or threading.Event()
    deleted, offset = 0, 0
    while not is_over.is_set() and (found := _ended_before(client, before, offset)):
        ours = [flow_run for flow_run in found if flow_run.parameters.keys() >= {"run_id", "history"}]
        offset += len(found) - len(ours)
        for flow_run in ours:
            if is_over.wait(_DELAY_S):
                break
            _delete(client, flow_run)
            deleted += 1
    return deleted


def forget_run(run_id: str) -> None:
    """Delete the flow runs of a run's nights and generations; errors of the server are ignored."""
    from prefect.client.schemas.filters import FlowRunFilter

    named = FlowRunFilter.model_validate({"name": {"like_": run_id}})
    with contextlib.suppress(httpx.HTTPError), quick_client() as client:
        while found := client.read_flow_runs(flow_run_filter=named, limit=_PAGE_SIZE):
            for flow_run in found:
                _delete(client, flow_run)


def _ended_before(client: SyncPrefectClient, before: datetime, offset: int) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    return client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(_FLOWS))),
        flow_run_filter=FlowRunFilter.model_validate({"end_time": {"before_": before}}),
        sort=FlowRunSort.ID_DESC,
        limit=_PAGE_SIZE,
        offset=offset,
    )


def _delete(client: SyncPrefectClient, flow_run: FlowRun) -> None:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.exceptions import ObjectNotFound

    its_artifacts = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
    with contextlib.suppress(ObjectNotFound):  # another process may prune, too
        for artifact in client.read_artifacts(artifact_filter=its_artifacts):
            client.delete_artifact(artifact.id)
        client.delete_flow_run(flow_run.id)
