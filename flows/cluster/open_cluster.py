"""The cluster that a night evaluates on: the one that OVERNIGHT_CLUSTER or `--cluster` names, or none.

`local:N` starts one on this machine, whose processes end with the night.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.flows.cluster.certificates import VARIABLE, create_certificates, member_files
from overnight.flows.cluster.choice import address_and_certificates, local_machines, named_cluster, slots_of_local
from overnight.flows.start.sandboxes import image_id, image_of
from overnight.schemas.errors import EnvironmentFault
from overnight.schemas.job import Job
from overnight.schemas.problem import Problem, Split
from overnight.tasks.evaluate.cluster.messages import Request, job_text
from overnight.tasks.evaluate.cluster.slots import ClusterSlots
from overnight.tasks.evaluate.confirmation import confirmation

if TYPE_CHECKING:
    from overnight.tasks.evaluate.cluster.cluster_pool import ClusterPool
    from overnight.tasks.evaluate.cluster.dask_client import Connection
    from overnight.tasks.evaluate.cluster.dask_members import Certificates

_SHUTDOWN_S = 10.0

_KEPT = (
    *("DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "OVERNIGHT_CONFIG", "OVERNIGHT_SLOTS"),
    *("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR"),
    *("XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"),
)
"""Environment variables of the processes of a local cluster: what finds Python, the engine and this user's files. Keys
are the head's."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that is connected.

    Attributes:
        slots: Its slots, shared by the pools of a run.
        note: Shows messages about its machines to the user.
    """

    connection: Connection
    slots: ClusterSlots = field(default_factory=ClusterSlots)
    note: Callable[[str], None] = lambda _: None

    @property
    def total_slots(self) -> int:
        """Number of slots of the machines that are there."""
        return sum(machine.slots for machine in self.connection.machines.values())

    def pool(self, problem: Problem, split: Split, *, seed: int, run_id: str, inputs: int | None = None) -> ClusterPool:
        """Return a pool that evaluates programs on a split of inputs on all machines, as `open_sandboxes` does here."""
        job = problem.job(split, seed).on_first(inputs)
        return self._pool(problem, job, run_id, is_fresh=False)

    def confirmations(self, problem: Problem, *, seed: int, run_id: str) -> ClusterPool:
        """Return a pool that confirms programs on the training inputs, each in a fresh container.

        Where there are several machines, another one than that which evaluated a program confirms it.
        """
        job = confirmation(problem.job("train", seed, isolation=True), problem.settings.noise)
        return self._pool(problem, job, run_id, is_fresh=True)

    def _pool(self, problem: Problem, job: Job, run_id: str, *, is_fresh: bool) -> ClusterPool:
        from overnight.tasks.evaluate.cluster.cluster_pool import ClusterPool

        request = request_for(problem, job, run_id, is_fresh=is_fresh)
        return ClusterPool(job, request, self.connection, self.slots, self.note)


def request_for(problem: Problem, job: Job, run_id: str, *, is_fresh: bool) -> Request:
    """Return what machines need to open a job of a problem; arguments as for `Request`."""
    sandbox = problem.settings.sandbox
    return Request(
        job=job_text(job),
        image=image_id(sandbox.model_copy(update={"image": image_of(problem)})),
        backend=sandbox.backend,
        runtime=sandbox.runtime,
        labels={"overnight.run": run_id},
        slots=1,
        is_fresh=is_fresh,
    )


@contextlib.contextmanager
def open_cluster(note: Callable[[str], None]) -> Iterator[Cluster | None]:
    """Connect to the cluster that is named; yield `None` if none is. `note` shows messages about its machines.

    Raises:
        UsageError: If what is named is no address.
        EnvironmentFault: If there are no certificates, or the cluster does not answer.
    """
    text = named_cluster()
    if not text:
        yield None
        return
    from overnight.tasks.evaluate.cluster.dask_client import Connection

    with contextlib.ExitStack() as stack:
        if machines := local_machines(text):
            where = stack.enter_context(local_cluster(machines, slots_of_local(machines)))
        else:
            where = address_and_certificates(text)
        connection = Connection(*where)
        stack.callback(connection.close)
        yield Cluster(connection, note=note)


@contextlib.contextmanager
def local_cluster(machines: int, slots: int) -> Iterator[tuple[str, Certificates]]:
    """Start a cluster of machines with so many slots each on loopback; yield its address and its certificates.

    Raises:
        EnvironmentFault: If it does not start.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overnight-cluster-")), "certificates")
        create_certificates(folder)
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {VARIABLE: str(folder)}
        scheduler = _start(stack, environment, "scheduler", "tls://127.0.0.1:0")
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().decode().strip()
        if not address:
            raise EnvironmentFault("the scheduler of the local cluster did not start", remedy="overnight doctor")
        for number in range(1, machines + 1):
            _start(stack, environment, "worker", address, f"local-{number}", str(slots))
        yield address, member_files(folder)


def _start(stack: contextlib.ExitStack, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "overnight.flows.cluster.process", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C reaches only the night, which still needs its cluster then
    )
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_SHUTDOWN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
