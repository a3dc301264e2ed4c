"""Old flow runs and events of nights leave the database of a server that Overnight starts; else it grows for ever.

What a night found is in the history, not here. Flow runs of other programs in the same database are left alone.
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

from schemas.errors import UsageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

VARIABLE = "OVERNIGHT_PREFECT_KEEP"
DEFAULT = "7d"
_HOURS = {"h": 1, "d": 24, "w": 168}
_EVERY_S = 3600.0
_BETWEEN_S = 0.02
"""Seconds between two deletions: a night that writes to the same database comes first."""

_PAGE = 200
_FLOWS = ("search", "night", "generation")


def kept_for() -> timedelta:
    """Return how long flow runs and events are kept, from the environment.

    Raises:
        UsageError: If that is no duration.
    """
    text = os.environ.get(VARIABLE) or DEFAULT
    match = re.fullmatch(r"(\d+)([hdw])", text.strip())
    if match is None or not int(match[1]):
        raise UsageError(f"{VARIABLE} takes hours, days or weeks, got {text!r}", remedy=f"export {VARIABLE}=30d")
    return timedelta(hours=int(match[1]) * _HOURS[match[2]])


def environment_of_pruning() -> dict[str, str]:
    """Return the variables that have the server itself delete old events."""
    return {"PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{int(kept_for().total_seconds())}S"}


@contextlib.contextmanager
def pruning() -> Iterator[None]:
    """While the block lasts, delete what is old, at once and every hour; a server that fails is left alone."""
    is_over = threading.Event()
    context = contextvars.copy_context()  # with the address of the server
    threading.Thread(target=context.run, args=(_prune_hourly, is_over), daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def _prune_hourly(is_over: threading.Event) -> None:
    from flows.prefect_server.night_state import quick_client

    with quick_client() as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                prune(client, datetime.now(UTC) - kept_for(), is_over)
            if is_over.wait(_EVERY_S):
                return


def prune(client: SyncPrefectClient, before: datetime, is_over: threading.Event | None = None) -> int:
    """Delete the flow runs of nights and generations that ended before a moment, with their artifacts.

    Args:
        client: Of the server.
        before: The moment.
        is_over: Set when there is no time for more.

    Returns:
        How many there were.
    """
    is_over = is_over or threading.Event()
    deleted, offset = 0, 0
    while not is_over.is_set() and (found := _ended_before(client, before, offset)):
        ours = [one for one in found if _is_ours(one)]
        offset += len(found) - len(ours)
        for one in ours:
            if is_over.wait(_BETWEEN_S):
                break
            _delete(client, one)
            deleted += 1
    return deleted


def _ended_before(client: SyncPrefectClient, before: datetime, offset: int) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    return client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(_FLOWS))),
        flow_run_filter=FlowRunFilter.model_validate({"end_time": {"before_": before}}),
        sort=FlowRunSort.ID_DESC,
        limit=_PAGE,
        offset=offset,
    )


def _is_ours(one: FlowRun) -> bool:
    return {"run_id", "history"} <= one.parameters.keys()


def _delete(client: SyncPrefectClient, one: FlowRun) -> None:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.exceptions import ObjectNotFound

    of_it = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[one.id]))
    with contextlib.suppress(ObjectNotFound):  # another process may prune, too
        for artifact in client.read_artifacts(artifact_filter=of_it):
            client.delete_artifact(artifact.id)
        client.delete_flow_run(one.id)
