"""The scheduler and the workers of a cluster, each of which runs until it is stopped, and the settings that they share
with the head.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.schemas.errors import EnvironmentFault, SandboxUnavailable

if TYPE_CHECKING:
    from distributed.security import Security

UNIQUE = " #"
"""Separator between the name of a machine and what makes it unique, as Dask wants it."""

SLOTS = "slots"
"""Dask's resource that tells how many slots a machine has."""

CONFIGURATION = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.allowed-failures": 1_000_000,
    "distributed.scheduler.worker-ttl": "30s",
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.comm.timeouts.tcp": "15s",
    "distributed.comm.timeouts.connect": "15s",
    "distributed.worker.daemon": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}
"""Dask's settings. Programs run in containers, so that Dask's limits on memory say nothing about them. Its pages, which
have no password, are left out."""

_THREADS_A_SLOT, _MORE_THREADS = 2, 8
"""Threads of a worker: two nights may use all slots, and some are for short tasks. Each wakes once a second."""
_NO_PAGES = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


@dataclass(frozen=True)
class Certificates:
    """Files with which a process becomes a member of a cluster.

    Attributes:
        certificate: Certificate of the members, which they show and by which they check each other's.
    """

    certificate: Path
    key: Path


def security_of(certificates: Certificates) -> Security:
    """Return Dask's settings of TLS: each end of a connection shows the certificate and requires the other's."""
    from distributed.security import Security

    files = {"cert": str(certificates.certificate), "key": str(certificates.key)}
    roles = {f"tls_{role}_{part}": files[part] for role in ("client", "scheduler", "worker") for part in files}
    return Security(tls_ca_file=files["cert"], require_encryption=True, **roles)


def require_distributed() -> None:
    try:
        import distributed  # noqa: F401  (only whether it is there)
    except ImportError as error:
        raise EnvironmentFault(
            "a cluster needs dask.distributed, which is not installed",
            remedy="Install it beside Overnight: pip install 'overnight[cluster]'",
        ) from error


def usable_processors() -> int:
    """Return the number of processors that affinity and the cgroup's quota leave."""
    require_distributed()
    from dask.system import cpu_count

    return cpu_count()


@contextlib.contextmanager
def configured() -> Iterator[None]:
    from dask import config

    logging.getLogger("distributed").setLevel(logging.ERROR)
    with config.set(CONFIGURATION):
        yield


def serve_scheduler(address: str, certificates: Certificates, ready: Callable[[str], None]) -> None:
    """Run a scheduler until the process is stopped; `ready` is called with its address once it listens."""
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
    address: str, certificates: Certificates, *, name: str, slots: int, joined: Callable[[], None]
) -> None:
    """Be a machine of a cluster until the cluster ends, or the process is stopped.

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
