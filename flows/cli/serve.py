"""`overnight schedule serve`: run scheduled nights in a worker, with a Prefect server of its own if there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.flows.cli.printing import DEFAULT_HISTORY, HistoryPlace, say
from overnight.flows.prefect_server.access import password_file
from overnight.schemas.errors import EnvironmentFault, ExitCode
from overnight.tasks.history.backends import open_history

if TYPE_CHECKING:
    from overnight.flows.prefect_server.embedded import EmbeddedServer
    from overnight.flows.schedules.night_worker import NightWorker

_MAX_NIGHTS = 1000
"""Concurrent nights; high enough to refuse none. Prefect counts running nights only if there is a limit."""

_POLL_S = 0.2
_SHUTDOWN_S = 8.0
"""Seconds in which the worker must end once no night is running."""

_FORWARDED_INTERRUPTS = 2
"""Number of Ctrl-C that nights react to: the first ends them after their generation, the second at once."""


def serve(
    *,
    pool: str | None = None,
    port: int | None = None,
    heartbeat: str | None = None,
    history: HistoryPlace = DEFAULT_HISTORY.location,
) -> None:
    """Run scheduled nights until Ctrl-C, with the server that PREFECT_API_URL names or with a new server.

    A running server of this installation, such as the one of its systemd unit, is used as well. A new one shows the
    metrics of a history for Prometheus, at /api/overnight/metrics.

    Args:
        pool: Prefect work pool; default: that of `overnight schedule add`
        port: port of the server to start; default: 4200
        heartbeat: address that is asked each minute while nights can start, so that its service alarms you when it is
            asked no more; default: OVERNIGHT_HEARTBEAT
    """
    from overnight.flows.schedules.deployments import POOL
    from overnight.flows.schedules.heartbeat import heartbeat_address, send_heartbeats
    from overnight.flows.schedules.night_worker import NightWorker

    heartbeat = heartbeat_address(heartbeat)
    with _server(port, open_history(history).absolute_location) as (url, server):
        address = url.removesuffix("/api")
        say(f"running scheduled nights; Prefect's UI: {address}; Ctrl-C stops after the running nights' generations")
        if server is not None:
            say(f"the UI asks for a password, which is the line in {password_file()}")
        worker = NightWorker(work_pool_name=pool or POOL, limit=_MAX_NIGHTS, report=_say_with_time)
        beats = partial(send_heartbeats, heartbeat, lambda: worker.has_polled_lately, _say_with_time)
        asyncio.run(_work(worker, server.has_ended if server else None, beats))
        if server is not None and server.has_ended.is_set():
            raise EnvironmentFault(
                "Prefect's server has ended too often; no night can start any more",
                remedy="Check whether the disk is full or memory is short, then run: overnight schedule serve",
            )
    say("stopped; nights that come due wait for the next `overnight schedule serve`, or for a worker")


def _say_with_time(text: str) -> None:
    say(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}")


async def _work(
    worker: NightWorker,
    server_has_ended: threading.Event | None,
    send_heartbeats: Callable[[], Coroutine[None, None, None]],
) -> None:
    """Run the worker until Ctrl-C, then wait until the running nights have finished their generation.

    If the server has ended for good, stop as after Ctrl-C: without it, no generation can start.
    """
    interrupts = asyncio.Semaphore(0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupts.release)
    working = asyncio.ensure_future(worker.start(printer=lambda _: None))
    interrupted = asyncio.ensure_future(interrupts.acquire())
    server_lost = asyncio.ensure_future(_wait_for(server_has_ended))
    beating = asyncio.ensure_future(send_heartbeats())
    await asyncio.wait({working, interrupted, server_lost}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        if server_lost.done():
            say("Prefect's server has ended too often to be started again")
        await _drain(worker, interrupts)
    _exit_after(_SHUTDOWN_S, ExitCode.ENVIRONMENT if server_lost.done() else ExitCode.DONE)
    for task in (interrupted, server_lost, beating, working):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


def _exit_after(seconds: float, code: int) -> None:
    """End the process by force after a delay, in case the worker hangs because the server is unavailable."""
    timer = threading.Timer(seconds, os._exit, args=(code,))
    timer.daemon = True
    timer.start()


async def _wait_for(event: threading.Event | None) -> None:
    """Wait until a thread sets the event; for ever if there is none."""
    while event is None or not event.is_set():
        await asyncio.sleep(_POLL_S)


async def _drain(worker: NightWorker, interrupts: asyncio.Semaphore) -> None:
    """Interrupt the running nights and wait until they end; forward a second Ctrl-C, and stop waiting at a third.

    A night whose process starts is interrupted once it has begun, and so ends before its first generation.
    """
    worker.is_draining = True
    if worker.limiter.borrowed_tokens:
        say(
            "no new night starts; running nights finish their generation, and one that is starting ends before its "
            "first; press Ctrl-C again to stop them at once"
        )
    told: Counter[int] = Counter()
    for number in range(1, _FORWARDED_INTERRUPTS + 1):
        while (nights := worker.limiter.borrowed_tokens) and interrupts.locked():
            for night in _night_processes():
                if told[night] < number and _handles_interrupts(night):
                    os.kill(night, signal.SIGINT)
                    told[night] += 1
            await asyncio.sleep(_POLL_S)
        if not nights:
            return
        await interrupts.acquire()


def _handles_interrupts(night: int) -> bool:
    """Return whether a night handles Ctrl-C now, as it does from its beginning to its end: then SIGHUP, too.

    Before, while its process starts, Ctrl-C would end it with a traceback, and it would count as dead.
    """
    try:
        status = Path(f"/proc/{night}/status").read_text()
    except OSError:
        return False  # the process has just ended
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGHUP - 1) & 1)


def _night_processes() -> list[int]:
    """Return the process ids of the running nights.

    Each night has its own process session, so that Ctrl-C on the terminal does not reach it. Without /proc (macOS), the
    list is empty: nights are not interrupted, and `serve` waits until they end.
    """
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if not children.exists():
        return []
    return [pid for pid in map(int, children.read_text().split()) if _is_night(Path(f"/proc/{pid}/cmdline"))]


def _is_night(command: Path) -> bool:
    try:
        return b"prefect.engine" in command.read_bytes().split(b"\0")
    except OSError:
        return False  # the process has just ended


@contextlib.contextmanager
def _server(port: int | None, history: str) -> Iterator[tuple[str, EmbeddedServer | None]]:
    """Yield the URL of the Prefect API, and the server if this command started it; it shows metrics of the history."""
    from prefect.settings import PREFECT_API_URL

    from overnight.flows.prefect_server.embedded import is_served, serve_forever, standing_server

    if PREFECT_API_URL.value() or (port is None and is_served()):
        with standing_server() as url:
            yield url, None
        return
    with serve_forever(port, say, metrics_of=history) as server:
        yield server.url, server
