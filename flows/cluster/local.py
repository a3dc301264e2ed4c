"""A cluster on this machine, for a try: a scheduler and workers as processes that end with this one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cluster.certificates import VARIABLE, create_certificates, member_files
from schemas.errors import EnvironmentFault

if TYPE_CHECKING:
    from tasks.evaluate.cluster.dask_settings import Certificates

_SHUTDOWN_S = 10.0

_KEPT = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "OVERNIGHT_CONFIG", "OVERNIGHT_SLOTS", "PATH", "PYTHONPATH"})
_KEPT_PREFIXES = ("CONTAINER_", "DOCKER_", "LC_", "TMP", "XDG_")
"""Environment variables of the processes: what finds Python, the engine and this user's files. Keys are the head's."""


@contextlib.contextmanager
def local_cluster(machines: int, slots: int) -> Iterator[tuple[str, Certificates]]:
    """Start a cluster on loopback; yield its address and its certificates. Both end with the context.

    Args:
        machines: Number of its machines.
        slots: Slots of each.

    Raises:
        EnvironmentFault: If it does not start.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overnight-cluster-")), "certificates")
        create_certificates(folder)
        environment = {**_kept(os.environ), VARIABLE: str(folder)}
        scheduler = _start(stack, environment, "scheduler", "tls://127.0.0.1:0")
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().decode().strip()
        if not address:
            raise EnvironmentFault("the scheduler of the local cluster did not start", remedy="overnight doctor")
        for number in range(1, machines + 1):
            _start(stack, environment, "worker", address, f"local-{number}", str(slots))
        yield address, member_files(folder)


def _kept(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}


def _start(stack: contextlib.ExitStack, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "flows.cluster.process", *arguments],
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
