"""What the machines of a cluster are: versions, engines, and whether a night of this machine could use them."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from flows.cluster.choice import address_and_certificates
from tasks.evaluate.cluster import machine as tasks
from tasks.evaluate.cluster.dask_engine import Connection, Machine, MachineLost
from tasks.evaluate.cluster.messages import MessageFault, read_answer

_TIMEOUT_S = 20.0


class MachineRow(NamedTuple):
    """A machine, as a table shows it."""

    name: str
    slots: str
    overnight: str
    python: str
    engine: str
    remark: str


def inspect_machines(address: str) -> list[MachineRow]:
    """Return what each machine of a cluster tells of itself, by name.

    Raises:
        EnvironmentFault: If the cluster does not answer.
    """
    with contextlib.closing(Connection(*address_and_certificates(address))) as connection:
        found = sorted(connection.machines.values(), key=lambda machine: machine.name)
        return [_row(connection, machine) for machine in found]


def _row(connection: Connection, machine: Machine) -> MachineRow:
    try:
        facts = read_answer(connection.submit(machine.address, tasks.examine).answer(_TIMEOUT_S)).facts
        engine = read_answer(connection.submit(machine.address, tasks.describe_engine).answer(_TIMEOUT_S))
    except (MachineLost, MessageFault) as error:
        return MachineRow(machine.name, str(machine.slots), "", "", "", f"does not answer: {error}")
    differ = [name for name, mine in tasks.facts().items() if facts.get(name) != mine]
    remark = f"not used, another version: {', '.join(differ)}" if differ else engine.fault
    described = engine.facts.get("engine", "")
    return MachineRow(
        machine.name, str(machine.slots), facts.get("Overnight", ""), facts.get("Python", ""), described, remark
    )
