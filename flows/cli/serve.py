"""`overnight serve`: a worker that spends scheduled nights, with a Prefect server of its own where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.printing import say
from schemas.errors import EnvironmentFault, ExitCode

if TYPE_CHECKING:
    from prefect.workers.process import ProcessWorker

    from flows.prefect_server.embedded import EmbeddedServer

_MANY = 1000
"""Nights at a time: none is ever refused for it, and Prefect counts them only where there is a limit."""

_LOOK_S = 0.2
_LAST_S = 8.0
"""Seconds that the worker has to end once no night is under way."""

_PASSED_ON = 2
"""Ctrl-C that a night heeds: the first and the second, each in its way."""


def serve(
    *,
    pool: Annotated[str | None, Parameter(help="Prefect work pool; default: the one schedules are made for")] = None,
    port: Annotated[int | None, Parameter(help="of the server that is started; default: 4200")] = None,
) -> None:
    """Spend scheduled nights until Ctrl-C: with the server that PREFECT_API_URL names, or one that this starts.

    A server of this installation that is there already, as its systemd unit starts one, is used as well.
    """
    from flows.prefect_server.worker import NightWorker
    from flows.schedules import POOL

    with _server(port) as (url, server):
        pages = url.removesuffix("/api")
        say(f"nights are spent from now on; Prefect's pages: {pages}; Ctrl-C ends it once a night under way has ended")
        if server is not None:
            from flows.prefect_server.access import password_file

            say(f"the pages ask for a password: the line in {password_file()}")
        asyncio.run(_work(NightWorker(work_pool_name=pool or POOL, limit=_MANY), server.has_ended if server else None))
        if server is not None and server.has_ended.is_set():
            raise EnvironmentFault(
                "Prefect's server has ended too often; no night can begin any more",
                remedy="Look whether the disk is full or the memory short, then: overnight serve",
            )
    say("ended; nights that come due wait for the next `overnight serve`, or for a worker")


async def _work(worker: ProcessWorker, server_has_ended: threading.Event | None) -> None:
    """Work until Ctrl-C, which is passed on to the nights under way: they finish their generation and are waited for.

    A server that has ended for good is like Ctrl-C: without it, no generation can begin.
    """
    heard = asyncio.Semaphore(0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, heard.release)
    working = asyncio.ensure_future(worker.start(printer=lambda _: None))
    first = asyncio.ensure_future(heard.acquire())
    lost = asyncio.ensure_future(_set(server_has_ended))
    await asyncio.wait({working, first, lost}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        if lost.done():
            say("Prefect's server has ended too often to be started again")
        await _drain(worker, heard)
    _end_within(_LAST_S, ExitCode.ENVIRONMENT if lost.done() else ExitCode.DONE)
    for waiting in (first, lost, working):
        waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


def _end_within(seconds: float, code: int) -> None:
    """End the process by force where its worker cannot say goodbye to a server that is away."""
    timer = threading.Timer(seconds, os._exit, args=(code,))
    timer.daemon = True
    timer.start()


async def _set(event: threading.Event | None) -> None:
    while event is None or not event.is_set():
        await asyncio.sleep(_LOOK_S)


async def _drain(worker: ProcessWorker, heard: asyncio.Semaphore) -> None:
    """Wait for the nights under way, to which Ctrl-C is passed on twice; a third ends the waiting."""
    if worker.limiter.borrowed_tokens:
        say("no night begins any more; those under way finish their generation; Ctrl-C again stops them at once")
    for _ in range(_PASSED_ON):
        for night in _nights():
            os.kill(night, signal.SIGINT)
        while (nights := worker.limiter.borrowed_tokens) and heard.locked():
            worker.limiter.total_tokens = nights  # no further one finds a place
            await asyncio.sleep(_LOOK_S)
        if not nights:
            return
        await heard.acquire()


def _nights() -> list[int]:
    """Processes of the nights under way; each has a session of its own, where no Ctrl-C reaches it."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if not children.exists():
        return []
    return [pid for pid in map(int, children.read_text().split()) if _is_night(Path(f"/proc/{pid}/cmdline"))]


def _is_night(command: Path) -> bool:
    try:
        return b"prefect.engine" in command.read_bytes().split(b"\0")
    except OSError:
        return False  # it has just ended


@contextlib.contextmanager
def _server(port: int | None) -> Iterator[tuple[str, EmbeddedServer | None]]:
    from prefect.settings import PREFECT_API_URL

    from flows.prefect_server.embedded import is_served, serve_forever, standing_server

    if PREFECT_API_URL.value() or (port is None and is_served()):
        with standing_server() as url:
            yield url, None
        return
    with serve_forever(port, say) as server:
        yield server.url, server
