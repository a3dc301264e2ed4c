"""Choice of the cluster that a night uses, and its address."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from overnight.schemas.errors import UsageError
from overnight.tasks.program.user_config import config_path, user_cluster

if TYPE_CHECKING:
    from overnight.tasks.evaluate.cluster.dask_members import Certificates

VARIABLE = "OVERNIGHT_CLUSTER"
"""Environment variable with the address of the cluster, `local:N`, or `none`."""

NONE = "none"
"""Names this machine alone, where the environment or the configuration file names a cluster."""

_LOCAL = "local:"

_MAX_LOCAL = 64
"""Limit on the machines of a local cluster."""


def named_cluster() -> str:
    """Return the address of the cluster to use, or `local:N`; empty for this machine alone.

    The environment, which `--cluster` changes for a process, comes before the user's configuration file.

    Raises:
        UsageError: If the configuration file is wrong, or names neither an address nor `local:N`.
    """
    if named := os.environ.get(VARIABLE, ""):
        return "" if named == NONE else named
    named = user_cluster().address
    try:
        _require_cluster(named)
    except UsageError as error:
        raise UsageError(f"{config_path()}: cluster.address: {error.message}", remedy=error.remedy) from error
    return "" if named == NONE else named


def choose_cluster(text: str | None) -> None:
    """Use a cluster in this process, in place of the one that is named elsewhere; `None` changes nothing."""
    _require_cluster(named_cluster() if text is None else text)
    if text is not None:
        os.environ[VARIABLE] = text or NONE


def require_named_cluster(address: str | None, command: str) -> str:
    """Return the address that a command was given, by default that of the environment or the configuration file.

    Raises:
        UsageError: If none was given and none is named.
    """
    if named := address or named_cluster():
        return named
    raise UsageError(
        "expected the address of a cluster, and none is named",
        remedy=f"Name it: {command} tls://HOST:PORT. Or set {VARIABLE}, or address in [cluster] of {config_path()}.",
    )


def _require_cluster(text: str) -> None:
    if text and text != NONE and local_machines(text) is None:
        parse_address(text)


def parse_address(text: str) -> str:
    """Return the address of a cluster, `HOST:PORT` or `tls://HOST:PORT`, in the second form.

    An address without encryption is refused, also on this machine: all its users could run code as this one.

    Raises:
        UsageError: If it is none.
    """
    scheme, separator, rest = text.rpartition("://")
    host, _, port = rest.rpartition(":")
    if host and port.isdigit() and scheme == ("tls" if separator else ""):
        return f"tls://{rest}"
    if scheme == "tcp":
        raise UsageError(
            f"expected an encrypted address, got {text!r}: whoever reaches it could run code as you",
            remedy=f"Name it tls://{rest}; `overnight cluster init` makes the certificates.",
        )
    raise UsageError(
        f"expected the address of a cluster, such as tls://head:8786, got {text!r}",
        remedy="`overnight cluster start` prints it.",
    )


def local_machines(text: str) -> int | None:
    """Return the number of machines of `local:N`, from 1 to 64; `None` for an address."""
    if not text.startswith(_LOCAL):
        return None
    number = text.removeprefix(_LOCAL)
    if not number.isdigit() or not 1 <= int(number) <= _MAX_LOCAL:
        raise UsageError(
            f"expected local: and a number of machines from 1 to {_MAX_LOCAL}, got {text!r}",
            remedy="For example: overnight run PROBLEM --cluster local:2",
        )
    return int(number)


def slots_of_local(machines: int) -> int:
    """Return the slots of each machine of a local cluster, which share the processors."""
    return max(1, (os.cpu_count() or 1) // machines)


def address_and_certificates(text: str) -> tuple[str, Certificates]:
    """Return the address of a cluster, and this machine's certificates, both of which have to be there."""
    from overnight.flows.cluster.certificates import cluster_folder, member_files

    return parse_address(text), member_files(cluster_folder())
