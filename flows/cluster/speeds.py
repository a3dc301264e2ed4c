"""How fast each machine of a cluster runs a problem's start program, beside this one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flows.cluster.choice import local_machines, named_cluster
from flows.cluster.open_cluster import Cluster, open_cluster, request_for
from flows.sandboxes import open_sandboxes, slots_of
from schemas.errors import EnvironmentFault
from schemas.job import Job, Limits
from schemas.outcome import Outcome, Verdict
from schemas.problem import Problem
from tasks.evaluate.cluster.slots import ClusterSlots
from tasks.evaluate.cluster.speed import MAX_SCALE, measure, scale_of, with_longer_limits

if TYPE_CHECKING:
    from tasks.evaluate.cluster.dask_engine import Connection, Machine, Pending

_RUN = "check"
_RUNS = 2
"""Runs of the start program on each machine, at least."""

_MARGIN = 3.0
"""Factor on the time of the start program below which a limit is tight: better programs are often slower."""

_JOINING_S = 30.0
"""Seconds within which the machines of a local cluster join."""

_OPENING_S = 900.0
"""Seconds within which a machine has the image, or is set aside."""

_LOOK_S = 0.05


@dataclass(frozen=True)
class MachineSpeed:
    """The start program on a machine.

    Attributes:
        name: Name of the machine.
        slots: Programs that it evaluates at the same time.
        verdict: Verdict of the run with the least processor time.
        speed: Processor time on the head divided by that on this machine; `None` if either has no score.
        remark: What to know about it; empty if there is nothing.
    """

    name: str
    slots: int
    verdict: Verdict
    speed: float | None
    remark: str


def measure_machines(problem: Problem, note: Callable[[str], None]) -> list[MachineSpeed]:
    """Run the start program on this machine and on each machine of the named cluster, one after the other.

    Args:
        problem: The problem.
        note: Shows messages about the machines to the user.

    Raises:
        EnvironmentFault: If the cluster does not answer, or has no machine.
    """
    with open_cluster(note) as cluster:
        assert cluster is not None, "a cluster is named"
        machines = _machines(cluster)
        with open_sandboxes(problem, "train", seed=0, run_id=_RUN, programs=1) as sandbox:
            head = measure(sandbox, problem.specification.start_program, at_least=_RUNS)
        job = with_longer_limits(problem.job("train", 0), MAX_SCALE)
        found = [(machine, _measured_on(machine, problem, job, cluster)) for machine in machines]
    here = MachineSpeed("this machine", slots_of(problem), head, 1.0 if head.is_scored else None, "")
    return [here, *(_speed(machine, verdict, head, problem) for machine, verdict in found)]


def _machines(cluster: Cluster) -> list[Machine]:
    """Return the machines that are there, by name; those of a local cluster take a moment to join."""
    expected, until = local_machines(named_cluster()) or 0, time.monotonic() + _JOINING_S
    while len(cluster.connection.machines) < expected and time.monotonic() < until:
        time.sleep(_LOOK_S)
    found = sorted(cluster.connection.machines.values(), key=lambda machine: (machine.name, machine.address))
    if not found:
        raise EnvironmentFault("the cluster has no machine", remedy="One joins with: overnight worker ADDRESS")
    return found


class _OneMachine:
    """One machine of a cluster, of which one slot is used."""

    def __init__(self, connection: Connection, machine: Machine) -> None:
        self._connection, self._machine = connection, machine

    @property
    def machines(self) -> dict[str, Machine]:
        there = self._machine.address in self._connection.machines
        return {self._machine.address: replace(self._machine, slots=1)} if there else {}

    def submit(self, machine: str, task: Callable[..., bytes], *args: object) -> Pending:
        return self._connection.submit(machine, task, *args)


def _measured_on(machine: Machine, problem: Problem, job: Job, cluster: Cluster) -> Verdict:
    """Return the verdict on the start program on a machine: a `sandbox_error` if it cannot be used."""
    from tasks.evaluate.cluster.pool import ClusterPool

    slots = ClusterSlots()
    only = _OneMachine(cluster.connection, machine)
    with contextlib.closing(ClusterPool(job, request_for(problem, job, _RUN), only, slots, cluster.note)) as pool:
        until = time.monotonic() + _OPENING_S
        while not pool.open_machines and time.monotonic() < until:
            if reasons := [state.reason for state in slots.states() if state.aside_s is not None]:
                return Verdict(Outcome.SANDBOX_ERROR, error=reasons[0])
            if not only.machines:
                return Verdict(Outcome.SANDBOX_ERROR, error="it left the cluster")
            time.sleep(_LOOK_S)
        return measure(pool, problem.specification.start_program, at_least=_RUNS)


def _speed(machine: Machine, verdict: Verdict, head: Verdict, problem: Problem) -> MachineSpeed:
    is_known = verdict.is_scored and head.is_scored and verdict.cpu_s > 0
    speed = head.cpu_s / verdict.cpu_s if is_known else None
    return MachineSpeed(machine.name, machine.slots, verdict, speed, remark(verdict, head, problem.settings.limits))


def remark(verdict: Verdict, head: Verdict, limits: Limits) -> str:
    """Return what to know about the start program on a machine; empty if there is nothing.

    Args:
        verdict: Verdict there, with limits that are 4 times as long.
        head: Verdict on the head.
        limits: Limits of the problem.
    """
    if verdict.outcome is Outcome.SANDBOX_ERROR:
        return f"not used: {verdict.error}"
    if not verdict.is_scored:
        return f"{verdict.outcome.value}: {verdict.error}"
    scale = scale_of(verdict, head.cpu_s) if limits.scale_by_speed and head.cpu_s > 0 else 1.0
    longest, limit_s = max(verdict.input_wall_s, default=0.0), limits.wall_s * scale
    remarks = []
    if limit_s < _MARGIN * longest:
        remarks.append(f"the limit of {limit_s:.3g} s is tight: an input takes {longest:.3g} s")
    if limits.cpu_s is not None and limits.cpu_s * scale < _MARGIN * verdict.cpu_s:
        remarks.append(f"the limit of {limits.cpu_s * scale:.3g} s of processor time is tight")
    if verdict.scores != head.scores:
        remarks.append("its scores differ from those here")
    return "; ".join(remarks)
