"""Build the arguments that confine a sandbox container, in the form that Docker and podman understand, and the label
that tells whose it is.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from overnight.tasks.evaluate import delivery
from overnight.tasks.evaluate.sandbox import RunnerConfig

OWNER_LABEL = "overnight.owner"
"""Label of a container with the process that started it, so that other processes can remove it once that process is
gone."""

_HEADROOM_MIB = 64
"""Memory of a container beyond its candidate's limit, MiB: for the runner, and for a child to report a MemoryError."""

_MAX_PROCESSES = 64
"""Maximum processes of a whole container; a candidate's own limit is lower (`runner/lockdown.py`)."""

_COMMAND_FACTOR = 4
"""Factor on `_MAX_PROCESSES` if programs may be started: compilers and virtual machines have many threads."""

_MAX_SCRATCH_FILES = 4096
"""Maximum number of files and directories in scratch."""


def confinement(config: RunnerConfig, *, limits_cpu: bool, is_podman: bool) -> dict[str, Any]:
    """Return the arguments for creating a container.

    Args:
        config: Settings of the pool.
        limits_cpu: Whether the engine can limit processor time.
        is_podman: Whether the engine is podman.
    """
    memory = f"{config.memory_mib + _HEADROOM_MIB}m"
    return {
        "entrypoint": ["python3"],
        "environment": delivery.ENVIRONMENT,
        "labels": {**config.labels, OWNER_LABEL: owner()},
        "runtime": config.runtime,
        "user": "0:0",
        "working_dir": "/",
        "hostname": "sandbox",
        # A network namespace with its own loopback and nothing else. With the second, Docker does not set up a network
        # first, of which it would connect none: a container starts in two thirds of the time.
        "network_mode": "none",
        "network_disabled": True,
        "read_only": True,
        "tmpfs": (_READ_ONLY_PLACES if is_podman or config.runtime else _READ_ONLY_DEVICES)
        | _scratch(config, is_podman),
        "ipc_mode": "none",
        "cap_drop": ["ALL"],
        # To switch to the candidate's user, and to kill that user's remaining processes.
        "cap_add": ["SETUID", "SETGID", "KILL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": _MAX_PROCESSES * (_COMMAND_FACTOR if config.may_execute else 1),
        "mem_limit": memory,
        # Equal to the memory limit, so that there is no swap.
        "memswap_limit": memory,
        # One core per slot: a candidate's threads must not slow down another slot until it times out.
        "nano_cpus": 1_000_000_000 if limits_cpu else None,
        "ulimits": [
            {"name": name, "soft": limit, "hard": limit} for name, limit in _ulimits(config.may_execute).items()
        ],
        "sysctls": _SYSCTLS,
        "log_config": {"type": "none"},
        "healthcheck": {"test": ["NONE"]},
        "stop_signal": "SIGKILL",
        "auto_remove": True,
    }


def _scratch(config: RunnerConfig, is_podman: bool) -> dict[str, str]:
    if not config.scratch_mib:
        return {}
    execute = "exec" if config.may_execute else "noexec"
    # Podman lacks that option, so there only memory limits the number of files.
    files = "" if is_podman else f"nr_inodes={_MAX_SCRATCH_FILES},"
    return {"/tmp": f"size={config.scratch_mib}m,{files}mode=1777,nosuid,nodev,{execute}"}


_READ_ONLY_PLACES = dict.fromkeys(("/tmp", "/var/tmp", "/run"), "size=4k,ro,nosuid,nodev,noexec")
"""Read-only mounts for directories that podman (all three) and gVisor (/tmp) otherwise make writable in spite of a
read-only root."""


_READ_ONLY_DEVICES = {"/dev": "size=64k,ro,nosuid,noexec,dev,mode=755"}
"""Read-only mount of /dev: device nodes can be used, but their times cannot be set and no files be created. runc
creates the nodes before it makes the mount read-only; without this option /dev stays writable in spite of a read-only
root. It also has no terminals, queues or shared memory."""


def _ulimits(may_execute: bool) -> dict[str, int]:
    """Return the limits of every process of a container; a candidate's own limits are lower (`runner/lockdown.py`)."""
    return {"nofile": 2048 if may_execute else 256, "memlock": 0}


_SYSCTLS = {
    # Shared memory, queues and semaphores outlive the process that created them.
    "kernel.shmmni": "0",
    "kernel.msgmni": "0",
    "kernel.sem": "0 0 0 0",
    "fs.mqueue.queues_max": "0",
}


def owner() -> str:
    """Return a label of this process: host, namespace of process ids, process id and start time, as ids are reused."""
    return f"{socket.gethostname()} {_namespace()} {os.getpid()} {_start_time(os.getpid())}"


def is_dead(label: str) -> bool:
    """Return whether the labelled process is known to be gone; False if it cannot be seen from here."""
    host, _, rest = label.partition(" ")
    namespace, _, rest = rest.partition(" ")
    pid, _, started = rest.partition(" ")
    if (host, namespace) != (socket.gethostname(), _namespace()) or not pid.isdigit():
        return False
    with suppress(PermissionError):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
    return _start_time(int(pid)) != started


def _namespace() -> str:
    """Return the namespace of process ids: containers may share a host name, and each numbers processes from 1."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "-"


def _start_time(pid: int) -> str:
    """Return the start time of a process, in ticks since boot; empty if there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
