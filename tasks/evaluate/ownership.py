"""Label containers with the process that started them, and find out whether that process is gone."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path


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
