"""A cluster on this machine, for a try: a scheduler and workers as processes that end with this one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from schemas.errors import EnvironmentFault

_SHUTDOWN_S = 10.0


@contextlib.contextmanager
def local_cluster(machines: int, slots: int) -> Iterator[str]:
    """Start a cluster on loopback; yield its address. It ends with the context.

    Args:
        machines: Number of its machines.
        slots: Slots of each.

    Raises:
        EnvironmentFault: If it does not start.
    """
    with contextlib.ExitStack() as stack:
        scheduler = _start(stack, "scheduler", "tcp://127.0.0.1:0")
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().decode().strip()
        if not address:
            raise EnvironmentFault("the scheduler of the local cluster did not start", remedy="overnight doctor")
        for number in range(1, machines + 1):
            _start(stack, "worker", address, f"local-{number}", str(slots))
        yield address


def _start(stack: contextlib.ExitStack, *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "flows.cluster.process", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
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
