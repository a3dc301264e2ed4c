"""`overnight serve`: a worker that spends scheduled nights, with a Prefect server of its own where there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter

from flows.cli.text import say


def serve(
    *,
    pool: Annotated[str | None, Parameter(help="Prefect work pool; default: the one schedules are made for")] = None,
    port: Annotated[int | None, Parameter(help="of the server that is started; default: 4200")] = None,
) -> None:
    """Spend scheduled nights until Ctrl-C: with the server that PREFECT_API_URL names, or one that this starts."""
    import asyncio

    from prefect.workers.process import ProcessWorker

    from flows.schedules import POOL

    with _server(port) as url:
        pages = url.removesuffix("/api")
        say(f"nights are spent from now on; Prefect's pages: {pages}; Ctrl-C ends it, and a night under way")
        worker = ProcessWorker(work_pool_name=pool or POOL)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(worker.start())
    say("ended; nights that come due wait for the next `overnight serve`, or for a worker")


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
