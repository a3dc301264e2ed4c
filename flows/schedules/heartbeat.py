"""Signs of life of `overnight schedule serve`: a heartbeat address on the network, and the watchdog of systemd."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from overnight.schemas.errors import UsageError

if TYPE_CHECKING:
    import httpx

VARIABLE = "OVERNIGHT_HEARTBEAT"
"""Environment variable with the address, for services."""

INTERVAL_S = 60.0
_TIMEOUT_S = 10.0


def heartbeat_address(given: str | None) -> str:
    """Return the given address, or that of OVERNIGHT_HEARTBEAT; empty without any.

    An address may hold a secret, so the error does not repeat it.

    Raises:
        UsageError: If it is no URL of http or https.
    """
    import httpx

    address = given or os.environ.get(VARIABLE, "")
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if address and not (url.scheme in ("http", "https") and url.host):
        raise UsageError(
            "--heartbeat: expected an address that begins with https:// or http:// and names a host",
            remedy="A service such as healthchecks.io gives you one, and alarms you once it is asked no more.",
        )
    return address


async def send_heartbeats(
    address: str, may_start_nights: Callable[[], bool], report: Callable[[str], None], interval_s: float = INTERVAL_S
) -> None:
    """Ask an address each minute for as long as nights can start, and tell systemd that this process runs, for ever.

    The watchdog of systemd is told in an outage of Prefect's server, too: nights under way outlive it.

    Args:
        address: URL that is asked by GET; nothing is asked if it is empty.
        may_start_nights: Returns whether a night that is due would start now.
        report: Shows a message when the address answers no more, and when it does again.
        interval_s: Seconds between two requests.
    """
    import httpx

    tell_systemd("READY=1")
    fault = ""
    async with httpx.AsyncClient(follow_redirects=True, timeout=_TIMEOUT_S) as client:
        while True:
            tell_systemd("WATCHDOG=1")
            if address and may_start_nights():
                before, fault = fault, await _fault_of(client, address)
                if fault and not before:
                    report(f"warning: the heartbeat was not sent ({fault}); it is tried again every minute")
                elif before and not fault:
                    report("the heartbeat is sent again")
            await asyncio.sleep(interval_s)


async def _fault_of(client: httpx.AsyncClient, address: str) -> str:
    """Ask an address; return what went wrong without any part of the address, or an empty string."""
    import httpx

    try:
        async with asyncio.timeout(_TIMEOUT_S):
            answer = await client.get(address)
    except TimeoutError:
        return f"no answer in {_TIMEOUT_S:.0f} s"
    except httpx.HTTPError as error:
        return type(error).__name__
    return f"answer {answer.status_code}" if answer.is_error else ""


def tell_systemd(message: str) -> None:
    """Send a message such as `READY=1` to the service manager that started this process, if one listens.

    The protocol is that of sd_notify(3).
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        try:
            manager.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            manager.send(message.encode())
        except OSError:
            return  # it restarts this process if it hears nothing
