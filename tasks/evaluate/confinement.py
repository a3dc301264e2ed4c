"""What a sandbox container may and may not do, as arguments of its creation that Docker and podman understand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.evaluate import delivery
from tasks.evaluate.ownership import owner
from tasks.evaluate.runner.command import SCRATCH

OWNER_LABEL = "overnight.owner"
"""The process that started a container, so that others know when nobody needs it any more."""

_HEADROOM_MIB = 64
"""Memory of a container beyond its candidate's, MiB: the runner, and room for a child to report a MemoryError."""

_PROCESSES = 64
"""Of a whole container; a candidate's own limit is below it (`runner/lockdown.py`)."""

_MORE = 4
"""So many times the processes where programs may be started: compilers and virtual machines have many threads."""

_FILES = 4096
"""In scratch, directories included."""


@dataclass(frozen=True)
class ContainerConfig:
    """What the containers of a pool have in common.

    Attributes:
        image: Name or id of a local image.
        memory_mib: Memory of a candidate, MiB.
        labels: By which they are found again.
        runtime: An OCI runtime that the engine knows; None for its own.
        scratch_mib: Size of a candidate's only writable place, MiB; 0 for none. It is part of the memory.
        may_execute: Whether programs may be started, also from there.
    """

    image: str
    memory_mib: int
    labels: dict[str, str]
    runtime: str | None = None
    scratch_mib: int = 0
    may_execute: bool = False


def confinement(setup: ContainerConfig, *, limits_cpu: bool, is_podman: bool) -> dict[str, Any]:
    """Arguments of a container's creation.

    Args:
        setup: What differs from pool to pool.
        limits_cpu: Whether the engine may limit processor time.
        is_podman: Whether it is podman's.
    """
    memory = f"{setup.memory_mib + _HEADROOM_MIB}m"
    return {
        "entrypoint": ["python3"],
        "environment": delivery.ENVIRONMENT,
        "labels": {**setup.labels, OWNER_LABEL: owner()},
        "runtime": setup.runtime,
        "user": "0:0",
        "working_dir": "/",
        "hostname": "sandbox",
        "network_mode": "none",
        "read_only": True,
        "tmpfs": (_CLOSED if is_podman or setup.runtime else _DEVICES) | _scratch(setup, is_podman),
        "ipc_mode": "none",
        "cap_drop": ["ALL"],
        # To become the candidate's user, and to kill what that user left.
        "cap_add": ["SETUID", "SETGID", "KILL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": _PROCESSES * (_MORE if setup.may_execute else 1),
        "mem_limit": memory,
        # The same: no swap.
        "memswap_limit": memory,
        # One slot, one core: a candidate's threads must not slow the slot beside it into a time-out.
        "nano_cpus": 1_000_000_000 if limits_cpu else None,
        "ulimits": [
            {"name": name, "soft": limit, "hard": limit} for name, limit in _ulimits(setup.may_execute).items()
        ],
        "sysctls": _SYSCTLS,
        "log_config": {"type": "none"},
        "healthcheck": {"test": ["NONE"]},
        "stop_signal": "SIGKILL",
        "auto_remove": True,
    }


def _scratch(setup: ContainerConfig, is_podman: bool) -> dict[str, str]:
    if not setup.scratch_mib:
        return {}
    execute = "exec" if setup.may_execute else "noexec"
    # Podman does not know that option; there, only memory limits how many files there may be.
    files = "" if is_podman else f"nr_inodes={_FILES},"
    return {SCRATCH: f"size={setup.scratch_mib}m,{files}mode=1777,nosuid,nodev,{execute}"}


_CLOSED = dict.fromkeys(("/tmp", "/var/tmp", "/run"), "size=4k,ro,nosuid,nodev,noexec")
"""What podman (all three) and gVisor (/tmp) make writable below a read-only root, unless something else is there."""


_DEVICES = {"/dev": "size=64k,ro,nosuid,noexec,dev,mode=755"}
"""The folder of device nodes, which can be used but no more be dated, nor anything be made beside them. runc fills it
before it makes it read-only; without this option it stays writable, read-only root or not. No terminals, queues or
shared memory are mounted in it either."""


def _ulimits(may_execute: bool) -> dict[str, int]:
    """Of every process of a container; a candidate's own is below it (`runner/lockdown.py`)."""
    return {"nofile": 2048 if may_execute else 256, "memlock": 0}


_SYSCTLS = {
    # Shared memory, queues and semaphores outlive the process that made them.
    "kernel.shmmni": "0",
    "kernel.msgmni": "0",
    "kernel.sem": "0 0 0 0",
    "fs.mqueue.queues_max": "0",
}
