"""Brings the runner into a container: the command that starts it, and the frames that make it one job's runner."""

from __future__ import annotations

import json
import random
import re
from dataclasses import asdict
from functools import cache
from importlib import resources

from schemas.errors import SpecificationError
from schemas.job import Job
from tasks.evaluate.runner import frames, plain_json

_MODULES = (
    *("frames", "plain_json", "seccomp", "lockdown", "codec", "rpc", "program", "additions", "command", "child"),
    *(
        "reap",
        "cgroup",
        "starvation",
        "bounded_buffer",
        "supervisor",
        "scratch",
        "memory_files",
        "isolated",
        "fork_server",
    ),
)
"""In the order in which they import each other; the last is the entry."""

ENVIRONMENT = {
    # One order of sets of strings in every candidate. `-P -s` below keeps this; `-I` would not.
    "PYTHONHASHSEED": "0",
    # An arena for each thread would take 64 MiB of address space, which is limited.
    "MALLOC_ARENA_MAX": "1",
    # A second thread would only wait for the slot's one core, and costs 30 MiB of address space.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LANG": "C.UTF-8",
}

IDLE_S = 1800.0
"""Seconds without a candidate after which a runner ends itself; the next candidate starts a fresh one."""

_USERS = 1000
"""Users of one slot. None is in use elsewhere, so that no limit that the kernel counts by user is shared."""


_NUMPY = re.compile(r"\b(np|numpy)\b")
"""A program has it as `np` without importing it."""


@cache
def arguments() -> tuple[str, ...]:
    """What follows `python3`: no path of the working directory, no user site, UTF-8 whatever the image says."""
    return "-P", "-s", "-X", "utf8", "-c", _source("bootstrap")


@cache
def modules_frame() -> bytes:
    """The first frame: the runner's modules, so that host and runner are always of one version."""
    return frames.frame(json.dumps([(name, _source(name)) for name in _MODULES]).encode())


def job_frame(job: Job, *, own_users: bool = True) -> bytes:
    """The second frame: everything that all candidates of a job share, sent once for each container.

    Where the evaluation is split, the inputs are a third one: the runner itself never has them.

    Args:
        job: The job.
        own_users: Whether each candidate becomes a user of its own; False only for tests without a container.

    Raises:
        SpecificationError: If the inputs are not plain data.
    """
    limits = job.limits
    inputs = _inputs(job)
    settings = {
        "run_function": job.run_function,
        "apart": asdict(job.isolation) if job.isolation else None,
        "command": asdict(job.command) if job.command else None,
        "count": len(inputs),
        "inputs": [] if job.isolation else inputs,
        "seed": job.seed,
        "thresholds": [*job.thresholds, *[None] * (len(inputs) - len(job.thresholds))],
        "wall_s": limits.wall_s,
        "cpu_s": cpu_limit(job),
        "memory_mib": limits.memory_mib,
        "output_kib": limits.output_kib,
        "scratch_mib": limits.scratch_mib,
        "first_uid": random.SystemRandom().randrange(1, 2_000_000) * _USERS,
        "uids": _USERS if own_users else 0,
        "idle_s": IDLE_S,
    }
    isolation = frames.frame(json.dumps(inputs).encode()) if job.isolation else b""
    return frames.frame(json.dumps(settings).encode()) + isolation


def request(number: int, source: str, job: Job) -> bytes:
    """One candidate's request; text that is not UTF-8 goes through and fails in the candidate's own compile."""
    program = source.encode("utf-8", "surrogatepass")
    return frames.REQUEST.pack(number, len(program), _speaks_of_numpy(source, job)) + program


def _speaks_of_numpy(source: str, job: Job) -> bool:
    """Whether any of its processes may use numpy; what a command starts imports its own."""
    texts = (source, job.isolation.specification) if job.isolation else (source,)
    return not job.command and any(_NUMPY.search(text) for text in texts)


def cpu_limit(job: Job) -> float:
    """Seconds of processor time that a candidate may take for all inputs together."""
    limits = job.limits
    return limits.cpu_s if limits.cpu_s is not None else limits.wall_s * max(1, len(job.inputs))


def _inputs(job: Job) -> list[tuple[object, object]]:
    encoded = []
    for position, call in enumerate(job.inputs, start=1):
        try:
            encoded.append((plain_json.encode(call.args), plain_json.encode(call.kwargs)))
        except TypeError as error:
            raise SpecificationError(f"input {position} of {len(job.inputs)} ({call}): {error}") from error
    return encoded


def _source(name: str) -> str:
    return resources.files("tasks.evaluate.runner").joinpath(f"{name}.py").read_text(encoding="utf-8")
