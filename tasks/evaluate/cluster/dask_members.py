"""The scheduler and the workers of a cluster, each of which runs until it is stopped."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Callable

from schemas.errors import SandboxUnavailable
from tasks.evaluate.cluster.dask_settings import (
    SLOTS,
    UNIQUE,
    Certificates,
    configured,
    require_distributed,
    security_of,
)

_THREADS_A_SLOT, _MORE_THREADS = 2, 8
"""Threads of a worker: two nights may use all slots, and some are for short tasks. Each wakes once a second."""
_NO_PAGES = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


def serve_scheduler(address: str, certificates: Certificates, ready: Callable[[str], None]) -> None:
    """Run a scheduler until the process is stopped.

    Args:
        address: Where it listens.
        certificates: Its certificates.
        ready: Called with its address once it listens.
    """
    require_distributed()
    security = security_of(certificates)

    async def serve() -> None:
        from distributed import Scheduler

        async with Scheduler(
            host=address.rpartition(":")[0],
            port=int(address.rpartition(":")[2]),
            protocol="tls",
            security=security,
            **_NO_PAGES,
        ) as scheduler:
            ready(str(scheduler.address))
            await scheduler.finished()

    with configured():
        asyncio.run(serve())


def serve_worker(
    address: str,
    certificates: Certificates,
    *,
    name: str,
    slots: int,
    joined: Callable[[], None] = lambda: None,
) -> None:
    """Be a machine of a cluster until the cluster ends, or the process is stopped.

    Args:
        address: The cluster.
        certificates: Its certificates.
        name: Name of this machine.
        slots: Programs that it evaluates at the same time.
        joined: Called once it has joined.

    Raises:
        SandboxUnavailable: If the cluster does not answer.
    """
    require_distributed()
    security = security_of(certificates)

    async def serve(folder: str) -> None:
        from distributed import Worker

        async with Worker(
            address,
            nthreads=_THREADS_A_SLOT * slots + _MORE_THREADS,
            resources={SLOTS: slots},
            name=f"{name}{UNIQUE}{uuid.uuid4().hex}",
            security=security,
            memory_limit=0,
            local_directory=folder,
            death_timeout=60,
            **_NO_PAGES,
        ) as worker:
            joined()
            await worker.finished()

    try:
        with configured(), tempfile.TemporaryDirectory(prefix="overnight-worker-") as folder:
            asyncio.run(serve(folder))
    except (OSError, TimeoutError) as error:
        raise SandboxUnavailable(
            f"no cluster answers at {address}: {error}", remedy="Start one on the head: overnight cluster start"
        ) from error
