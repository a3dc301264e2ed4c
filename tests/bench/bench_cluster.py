"""Evaluation on a cluster beside the local pool: candidates that sleep, real containers, all on this machine.

    python -m tests.bench.bench_cluster

Efficiency is the rate times the seconds of a candidate, over the slots. The local pool has four slots; the machines of
the cluster are processes on loopback, and share the processors with the head. Milliseconds are processor time a
candidate of the head, the scheduler and the workers, without what runs in containers.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from overnight.schemas.job import Call, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.settings import Sandbox as Settings
from overnight.tasks.evaluate.cluster.cluster_pool import ClusterPool
from overnight.tasks.evaluate.cluster.messages import Request, job_text
from overnight.tasks.evaluate.cluster.slots import ClusterSlots
from overnight.tasks.evaluate.pool import open_pool
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import Sandbox
from tests.bench.processor_time import processor_s, processor_s_of
from tests.machines import Machines
from tests.machines import machines as own_machines

IMAGE = Settings().image
PROGRAM = "import time\n\ndef evaluate(seconds):\n    time.sleep(seconds)\n    return seconds\n"
ROUNDS = ((1, 4, 1.0), (1, 4, 0.2), (1, 4, 0.05), (4, 4, 0.2), (8, 4, 1.0), (8, 25, 5.0))
"""Machines, slots of each, and seconds of a candidate."""

_SECONDS = 8.0
"""Seconds that a measurement takes where nothing is lost."""


def job_of(seconds: float) -> Job:
    return Job("evaluate", (Call((seconds,)),), Limits(wall_s=10, memory_mib=128))


@contextlib.contextmanager
def on_cluster(job: Job, machines: int, slots: int) -> Iterator[tuple[ClusterPool, Machines]]:
    with contextlib.closing(create_backend("docker")) as backend:
        image = backend.image_id(IMAGE)
    fields = {"backend": "docker", "runtime": None, "labels": {"overnight.run": "bench"}, "slots": 1, "is_fresh": False}
    request = Request(job=job_text(replace(job, honest=PROGRAM.replace("(seconds)", "(0)", 1))), image=image, **fields)
    with (
        tempfile.TemporaryDirectory() as folder,
        own_machines(Path(folder)) as cluster,
        contextlib.ExitStack() as stack,
    ):
        for number in range(machines):
            cluster.join(f"machine-{number}", slots)  # each with host slots of its own, as on hosts of their own
        connection = stack.enter_context(contextlib.closing(cluster.connect()))
        pool = ClusterPool(job, request, connection, ClusterSlots(), lambda _: None)
        stack.enter_context(contextlib.closing(pool))
        begin = time.monotonic()
        while len(pool._open) < machines:
            time.sleep(0.05)
        print(f"    {machines} machines opened the job after {time.monotonic() - begin:.1f} s", flush=True)
        yield pool, cluster


def count_of(slots: int, seconds: float) -> int:
    """Candidates of a measurement."""
    return max(5, round(_SECONDS / seconds)) * slots


def rate(pool: Sandbox, slots: int, seconds: float) -> float:
    """Candidates a second."""
    count = count_of(slots, seconds)
    programs = [f"{PROGRAM}# {number}" for number in range(count)]
    with ThreadPoolExecutor(2 * slots) as threads:
        list(threads.map(pool.evaluate, programs[:slots]))
        begin = time.monotonic()
        verdicts = list(threads.map(pool.evaluate, programs))
    assert all(verdict.is_scored for verdict in verdicts), verdicts
    return count / (time.monotonic() - begin)


@contextlib.contextmanager
def counted(cluster: Machines, per: float) -> Iterator[list[str]]:
    """Fill a list with the processor time of each part of a cluster within the context."""

    def now() -> dict[str, float]:
        pids = cluster.pids
        scheduler = processor_s_of(pids.pop("scheduler"))
        return {"head": processor_s(), "scheduler": scheduler, "workers": sum(map(processor_s_of, pids.values()))}

    said, before = list[str](), now()
    yield said
    said += [f"{part} {1000 * (s - before[part]) / per:.1f} ms" for part, s in now().items()]


def main() -> None:
    for machines, slots, seconds in ROUNDS:
        job, total = job_of(seconds), machines * slots
        with open_pool(job, image=IMAGE, slots=slots) as pool:
            local = rate(pool, slots, seconds) * seconds / slots
        programs = count_of(total, seconds) + total
        with on_cluster(job, machines, slots) as (pool, cluster), counted(cluster, programs) as costs:
            found = rate(pool, total, seconds)
        efficiency = found * seconds / total
        print(
            f"{machines} x {slots} slots, {seconds:g} s: {found:.1f}/s, efficiency {efficiency:.3f}; "
            f"local pool of {slots}: {local:.3f}; ratio {efficiency / local:.2f}; " + ", ".join(costs),
            flush=True,
        )


if __name__ == "__main__":
    main()
