"""`overnight serve`: a worker that spends scheduled nights, with a Prefect server of its own where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.text import say

if TYPE_CHECKING:
    from prefect.workers.process import ProcessWorker

_MANY = 1000
"""Nights at a time: none is ever refused for it, and Prefect counts them only where there is a limit."""

_LOOK_S = 0.2
_PASSED_ON = 2
"""Ctrl-C that a night heeds: the first and the second, each in its way."""


def serve(
    *,
    pool: Annotated[str | None, Parameter(help="Prefect work pool; default: the one schedules are made for")] = None,
    port: Annotated[int | None, Parameter(help="of the server that is started; default: 4200")] = None,
) -> None:
    """Spend scheduled nights until Ctrl-C: with the server that PREFECT_API_URL names, or one that this starts."""
    from prefect.workers.process import ProcessWorker

    from flows.schedules import POOL

    with _server(port) as url:
        pages = url.removesuffix("/api")
        say(f"nights are spent from now on; Prefect's pages: {pages}; Ctrl-C ends it once a night under way has ended")
        asyncio.run(_work(ProcessWorker(work_pool_name=pool or POOL, limit=_MANY)))
    say("ended; nights that come due wait for the next `overnight serve`, or for a worker")


async def _work(worker: ProcessWorker) -> None:
    """Until Ctrl-C, which is passed on to the nights under way: they end with their generation, and are waited for."""
    heard = asyncio.Semaphore(0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, heard.release)
    working = asyncio.ensure_future(worker.start(printer=lambda _: None))
    first = asyncio.ensure_future(heard.acquire())
    await asyncio.wait({working, first}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        await _drain(worker, heard)
    first.cancel()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _drain(worker: ProcessWorker, heard: asyncio.Semaphore) -> None:
    """Waits for the nights under way, to which Ctrl-C is passed on twice; a third ends the waiting."""
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
def _server(port: int | None) -> Iterator[str]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.server import DEFAULT_PORT, EmbeddedServer, standing_server

    if PREFECT_API_URL.value():
        with standing_server() as url:
            yield url
        return
    server = EmbeddedServer(port or DEFAULT_PORT, is_whole=True)
    try:
        server.wait()
        with temporary_settings({PREFECT_API_URL: server.url}):
            yield server.url
    finally:
        server.stop()
