"""Worker of `overnight serve`, which keeps running, with its nights, while the Prefect server is down."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
from prefect.workers.process import ProcessWorker

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun


class NightWorker(ProcessWorker, abc.ABC):  # an ABC, which Prefect does not register as a worker type
    """Prefect worker that keeps polling for nights however long the server is down.

    Prefect's own worker gives up after some minutes, and ends the flow runs under way.
    """

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        with _outages_ignored():
            return await super().get_and_submit_flow_runs()
        return []

    async def sync_with_backend(self) -> None:
        with _outages_ignored():
            await super().sync_with_backend()


@contextlib.contextmanager
def _outages_ignored() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError:
        return
    except httpx.HTTPStatusError as error:
        if error.response.status_code < 500:
            raise
