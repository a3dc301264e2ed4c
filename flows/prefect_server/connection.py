"""Connections to a Prefect server that may be down: checks that return soon, and errors that a night waits out."""

from __future__ import annotations

import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
from httpx import codes

from overnight.schemas.errors import PrefectUnavailable

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_TIMEOUT_S = 5.0


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Return whether a server answers within some time, whether or not it accepts the password."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=timeout_s) as response:
            return response.status == 200
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def server_answers() -> bool:
    """Return whether the server that Prefect's settings name in this context answers within a second."""
    from prefect.settings import PREFECT_API_URL

    return answers(str(PREFECT_API_URL.value()))


def wait_for_server(timeout_s: float) -> bool:
    """Wait until the server answers, at most for some time; return whether it does."""
    deadline = time.monotonic() + timeout_s
    while not server_answers():
        if time.monotonic() >= deadline:
            return False
        time.sleep(1.0)
    return True


@contextlib.contextmanager
def quick_client() -> Iterator[SyncPrefectClient]:
    """Yield a client that fails at once when the server is down, instead of retrying for minutes."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True, httpx_settings={"timeout": _TIMEOUT_S}) as client,
    ):
        yield client


@contextlib.contextmanager
def outages() -> Iterator[None]:
    """Raise PrefectUnavailable, an outage that a night waits for, in place of errors of an unreachable server."""
    try:
        yield
    except httpx.HTTPError as error:
        if not is_outage(error):
            raise
        remedy = "Start it again; only Prefect's UI lacks what happened meanwhile."
        raise PrefectUnavailable(f"the Prefect server does not answer: {error}", remedy=remedy) from error


def is_outage(error: Exception) -> bool:
    """Return whether an error says that Prefect's server, or a proxy before it, does not answer now, or is broken."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status >= 500 or status in (codes.REQUEST_TIMEOUT, codes.TOO_MANY_REQUESTS)
    return isinstance(error, httpx.TransportError)
