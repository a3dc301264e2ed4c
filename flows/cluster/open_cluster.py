"""The cluster that a night evaluates on: the one that OVERNIGHT_CLUSTER or `--cluster` names, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flows.cluster.choice import address_and_certificates, local_machines, named_cluster, slots_of_local
from flows.cluster.local import local_cluster
from flows.images import image_id, image_of
from schemas.job import Job
from schemas.problem import Problem, Split
from tasks.evaluate.cluster.messages import Request, job_text, source_text
from tasks.evaluate.cluster.slots import ClusterSlots
from tasks.evaluate.confirmation import confirmation

if TYPE_CHECKING:
    from tasks.evaluate.cluster.dask_engine import Connection
    from tasks.evaluate.cluster.pool import ClusterPool


@dataclass(frozen=True)
class Cluster:
    """A cluster that is connected.

    Attributes:
        connection: The connection to it.
        slots: Its slots, shared by the pools of a run.
        note: Shows messages about its machines to the user.
    """

    connection: Connection
    slots: ClusterSlots = field(default_factory=ClusterSlots)
    note: Callable[[str], None] = lambda _: None

    def pool(self, problem: Problem, split: Split, *, seed: int, run_id: str, inputs: int | None = None) -> ClusterPool:
        """Return a pool that evaluates programs on a split of a problem's inputs, on all machines.

        Args: as for `open_sandboxes`.
        """
        job = problem.job(split, seed).on_first(inputs)
        return self._pool(problem, job, run_id, is_fresh=False)

    def confirmations(self, problem: Problem, *, seed: int, run_id: str) -> ClusterPool:
        """Return a pool that confirms programs on the training inputs, each in a fresh container.

        Where there are several machines, another one than that which evaluated a program confirms it.
        """
        job = confirmation(problem.job("train", seed, isolation=True), problem.settings.noise)
        return self._pool(problem, job, run_id, is_fresh=True)

    def _pool(self, problem: Problem, job: Job, run_id: str, *, is_fresh: bool) -> ClusterPool:
        from tasks.evaluate.cluster.pool import ClusterPool

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
        honest=source_text(problem.specification.start_program),
        slots=1,
        is_fresh=is_fresh,
    )


@contextlib.contextmanager
def open_cluster(note: Callable[[str], None]) -> Iterator[Cluster | None]:
    """Connect to the cluster that is named; yield `None` if none is.

    Args:
        note: Shows messages about its machines to the user.

    Raises:
        UsageError: If what is named is no address.
        EnvironmentFault: If there are no certificates, or the cluster does not answer.
    """
    text = named_cluster()
    if not text:
        yield None
        return
    from tasks.evaluate.cluster.dask_engine import Connection

    with contextlib.ExitStack() as stack:
        if machines := local_machines(text):
            where = stack.enter_context(local_cluster(machines, slots_of_local(machines)))
        else:
            where = address_and_certificates(text)
        connection = Connection(*where)
        stack.callback(connection.close)
        yield Cluster(connection, note=note)
