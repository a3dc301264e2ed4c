"""A night of a deployment of version 0.1, which had a concurrency limit.

`tests/flows/cli/test_serve.py` tries what else becomes of a night's state, with nights in processes of their own.
"""

from __future__ import annotations

import threading
from uuid import uuid4

import httpx
import pytest
from prefect import flow_engine
from prefect.client.orchestration import get_client

import overnight.flows.schedules.scheduled_night  # noqa: F401  (as the first import of a night's process)
from tests.accidents import wait_until


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect")
def test_a_night_continues_if_its_lease_cannot_be_renewed():
    unknown = uuid4()
    with get_client(sync_client=True) as client, pytest.raises(httpx.HTTPStatusError, match="410 Gone"):
        client.renew_concurrency_lease(unknown, 300.0)
    renewing = f"concurrency-lease-renewal-{unknown}"
    with flow_engine.maintain_concurrency_lease(unknown, 300, raise_on_lease_renewal_failure=True):  # pyright: ignore[reportPrivateImportUsage]
        wait_until(lambda: renewing not in {thread.name for thread in threading.enumerate()})
        has_continued = True
    assert has_continued
