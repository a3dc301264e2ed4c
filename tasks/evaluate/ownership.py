"""Whose a container is: the process that started it, and whether that process is gone."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path


def owner() -> str:
    """This process, as a label: host, namespace of process ids, process id, and when it started: ids come again."""
    return f"{socket.gethostname()} {_namespace()} {os.getpid()} {_started(os.getpid())}"


def is_dead(label: str) -> bool:
    """Whether the process that a label names is known to be gone; one that cannot be seen from here is not."""
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
    return _started(int(pid)) != started


def _namespace() -> str:
    """Two containers may have one name for their host, and each counts its processes from 1."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "-"


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks since boot; empty where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
