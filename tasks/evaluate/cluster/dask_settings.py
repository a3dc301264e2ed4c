"""Settings of Dask and TLS that head, scheduler and workers share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from schemas.errors import EnvironmentFault
from tasks.evaluate.cluster.address import Address, Certificates

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


def security_of(address: Address, certificates: Certificates | None) -> Security | None:
    from distributed.security import Security

    if not address.is_encrypted:
        return None
    if certificates is None:
        raise EnvironmentFault(
            f"{address.url} is encrypted, and there are no certificates",
            remedy="Make them on the head: overnight cluster init. Other machines need a copy.",
        )
    files = (certificates.ca, certificates.certificate, certificates.key)
    roles = {
        f"tls_{role}_{part}": file
        for role in ("client", "scheduler", "worker")
        for part, file in zip(("cert", "key"), files[1:], strict=True)
    }
    return Security(tls_ca_file=files[0], require_encryption=True, **roles)


def require_distributed() -> None:
    try:
        import distributed  # noqa: F401  (only whether it is there)
    except ImportError as error:
        raise EnvironmentFault(
            "a cluster needs dask.distributed, which is not installed",
            remedy="Install it beside Overnight: pip install 'overnight[cluster]'",
        ) from error


@contextlib.contextmanager
def configured() -> Iterator[None]:
    from dask import config

    logging.getLogger("distributed").setLevel(logging.ERROR)
    with config.set(CONFIGURATION):
        yield
