"""`overnight cluster` and `overnight worker`: evaluation on several machines."""

from __future__ import annotations

import platform
from typing import Annotated

from cyclopts import App, Parameter

from flows.cli.printing import out, say, table

cluster = App(name="cluster", help="Evaluate on several machines: make certificates, start a scheduler, list machines.")

ClusterAddress = Annotated[str, Parameter(help="address of the cluster, such as tls://head:8786")]


@cluster.command
def init() -> None:
    """Make the certificates of a new cluster, for its head; every other machine needs a copy of three of the files."""
    from flows.cluster.certificates import cluster_folder, create_certificates

    folder = cluster_folder()
    create_certificates(folder)
    out().print(str(folder), soft_wrap=True)
    say(
        "copy ca.pem, member.pem and member.key from there to the same folder of each machine, readable by its owner "
        "only; ca.key stays here"
    )


@cluster.command
def start(
    *,
    listen: Annotated[
        str, Parameter(help="address to listen at; tcp:// is for this machine alone")
    ] = "tls://0.0.0.0:8786",
) -> None:
    """Run the scheduler of a cluster until Ctrl-C; machines and nights connect to it."""
    from flows.cluster.process import schedule

    def ready(address: str) -> None:
        say(f"listening at {address}; machines join with: overnight worker {address}")

    schedule(listen, ready)


@cluster.command
def show(address: ClusterAddress) -> None:
    """List the machines of a cluster, with their slots, versions and engines."""
    from flows.cluster.inspect import inspect_machines

    columns = ("machine", "slots", "Overnight", "Python", "engine", "")
    out().print(table(columns, [tuple(row) for row in inspect_machines(address)], right=("slots",)))


def worker(
    address: ClusterAddress,
    /,
    *,
    slots: Annotated[
        int | None, Parameter(help="programs to evaluate at the same time; default: the processors it may use")
    ] = None,
    name: Annotated[str | None, Parameter(help="name of this machine in tables; default: its host name")] = None,
) -> None:
    """Be a machine of a cluster until Ctrl-C: evaluate programs for the nights that use it. It needs an engine only."""
    from flows.cluster.process import work
    from flows.cluster.processors import usable_processors

    work(address, name=name or platform.node() or "machine", slots=slots or usable_processors(), say=say)
