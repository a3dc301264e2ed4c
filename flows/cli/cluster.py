"""`overnight cluster`: evaluation on several machines."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter

from overnight.flows.cli.printing import OutputFormat, out, say, table, write_json
from overnight.flows.cluster.certificates import cluster_folder, create_certificates
from overnight.flows.cluster.choice import require_named_cluster
from overnight.flows.cluster.inspect import inspect_machines
from overnight.flows.cluster.process import schedule, work
from overnight.flows.cluster.worker_name import worker_name
from overnight.tasks.evaluate.cluster.dask_members import usable_processors

cluster = App(
    name="cluster",
    help="Evaluate on several machines: make certificates, start a scheduler, be a machine, list machines.",
    group_commands="Commands",
)

ClusterAddress = Annotated[str, Parameter(help="address of the cluster, such as tls://head:8786")]


@cluster.command
def init() -> None:
    """Make the certificate of a new cluster, for its head; every other machine needs a copy of it and its key."""
    folder = cluster_folder()
    create_certificates(folder)
    out().print(str(folder), soft_wrap=True)
    say("copy member.pem and member.key from there to the same folder of each machine, readable by its owner only")


@cluster.command
def start(*, listen: str = "tls://0.0.0.0:8786") -> None:
    """Run the scheduler of a cluster until Ctrl-C; machines and nights connect to it.

    Args:
        listen: address to listen at
    """

    def ready(address: str) -> None:
        say(f"listening at {address}; machines join with: overnight cluster worker {address}")

    schedule(listen, ready)


@cluster.command
def show(
    address: str | None = None,
    /,
    *,
    format: OutputFormat = "text",  # noqa: A002
) -> None:
    """List the machines of a cluster, with their slots, versions, engines, and whether they have the sandbox image.

    Args:
        address: address of the cluster; default: OVERNIGHT_CLUSTER, or your configuration file's
    """
    machines = inspect_machines(require_named_cluster(address, "overnight cluster show"))
    if format == "json":
        write_json([asdict(machine) for machine in machines])
        return
    columns = ("machine", "slots", "Overnight", "Python", "engine", "image", "")
    rows = [
        (
            machine.name,
            str(machine.slots),
            machine.versions.get("Overnight", ""),
            machine.versions.get("Python", ""),
            machine.engine,
            machine.image,
            machine.problem,
        )
        for machine in machines
    ]
    out().print(table(columns, rows, right=("slots",)))
    for remedy in dict.fromkeys(machine.remedy for machine in machines if machine.remedy):
        say(remedy)


@cluster.command
def worker(
    address: ClusterAddress,
    /,
    *,
    slots: int | None = None,
    name: str | None = None,
) -> None:
    """Be a machine of a cluster until Ctrl-C: evaluate programs for the nights that use it. It needs an engine only.

    Args:
        slots: programs to evaluate at the same time; default: the processors it may use
        name: name of this machine in tables; default: its host name; a second worker that has it gets a number
    """
    with worker_name(name or platform.node() or "machine") as own:
        work(address, name=own, slots=slots or usable_processors(), say=say)
