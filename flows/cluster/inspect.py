"""Inspects the machines of a cluster: versions, engines, and whether a night of this machine could use them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from overnight.flows.cluster.choice import address_and_certificates
from overnight.schemas.errors import OvernightError
from overnight.schemas.settings import Sandbox
from overnight.tasks.evaluate.cluster import machine as tasks
from overnight.tasks.evaluate.cluster.dask_client import Connection, Machine, MachineLost
from overnight.tasks.evaluate.cluster.messages import Answer, MessageFault, read_answer
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.program.user_config import user_sandbox

_TIMEOUT_S = 20.0
"""Seconds that a machine has to answer."""

_AT_A_TIME = 32
"""Machines that are asked at the same time."""

_SHOWN_VERSIONS = ("Overnight", "Python")


@dataclass(frozen=True)
class InspectedMachine:
    """A machine, and whether a night of this machine could use it.

    Attributes:
        slots: Programs that it evaluates at the same time.
        versions: Its versions by name, as far as it tells them.
        engine: Description of its engine; empty if it has none, or has not been asked.
        image: Whether it has the sandbox image; empty if that is not known.
        problem: Reason why it is not used; empty if it is.
        remedy: Next step if it is not used.
    """

    name: str
    slots: int
    versions: Mapping[str, str] = field(default_factory=dict)
    engine: str = ""
    image: str = ""
    problem: str = ""
    remedy: str = ""


def inspect_machines(address: str) -> list[InspectedMachine]:
    """Return what each machine of a cluster tells of itself, by name."""
    sandbox = user_sandbox()
    image = _image_id(sandbox)
    with (
        contextlib.closing(Connection(*address_and_certificates(address))) as connection,
        ThreadPoolExecutor(_AT_A_TIME) as threads,
    ):
        found = sorted(connection.machines.values(), key=lambda machine: (machine.name, machine.address))
        inspect = partial(inspect_machine, connection, where=address, backend=sandbox.backend, image=image)
        return list(threads.map(inspect, found))


def _image_id(sandbox: Sandbox) -> str:
    """Return the id of the sandbox image on this machine; empty if it has none, which is no machine's problem."""
    try:
        with contextlib.closing(create_backend(sandbox.backend)) as backend:
            return backend.image_id(sandbox.image)
    except OvernightError:
        return ""


def inspect_machine(
    connection: Connection, machine: Machine, *, where: str, backend: str, image: str
) -> InspectedMachine:
    """Return what a machine tells of itself; `where` is the address of the cluster, for remedies."""

    def ask(task: Callable[..., bytes], *args: object) -> Answer:
        return read_answer(connection.submit(machine.address, task, *args).answer(_TIMEOUT_S))

    again = f"overnight cluster worker {where}"
    try:
        facts = ask(tasks.examine).facts
        versions = {name: facts[name] for name in _SHOWN_VERSIONS if name in facts}
        if differ := tasks.difference(facts):
            remedy = f"Install on {machine.name} what this machine has, and start there: {again}"
            return InspectedMachine(machine.name, machine.slots, versions, problem=differ, remedy=remedy)
        engine = ask(tasks.describe_engine, backend, image)
    except (MachineLost, MessageFault) as error:
        remedy = f"Start it again on {machine.name}: {again}"
        return InspectedMachine(machine.name, machine.slots, problem=f"does not answer: {error}", remedy=remedy)
    found = engine.facts.get("image", "")
    return InspectedMachine(
        machine.name,
        machine.slots,
        versions,
        engine.facts.get("engine", ""),
        "sent at first use" if found == "missing" else found,
        engine.fault,
        f"Look on {machine.name}: overnight doctor" if engine.fault else "",
    )
