"""Settings of Dask and TLS that head, scheduler and workers share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import EnvironmentFault

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


@dataclass(frozen=True)
class Certificates:
    """Files with which a process becomes a member of a cluster.

    Attributes:
        ca: Certificate of the authority.
        certificate: Certificate of the members.
        key: Its private key.
    """

    ca: Path
    certificate: Path
    key: Path


def security_of(certificates: Certificates) -> Security:
    """Return Dask's settings of TLS: each end of a connection shows the certificate and requires the other's."""
    from distributed.security import Security

    files = {"cert": str(certificates.certificate), "key": str(certificates.key)}
    roles = {f"tls_{role}_{part}": files[part] for role in ("client", "scheduler", "worker") for part in files}
    return Security(tls_ca_file=str(certificates.ca), require_encryption=True, **roles)


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
