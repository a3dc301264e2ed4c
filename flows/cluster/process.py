"""Processes of a cluster: its scheduler, and the worker of a machine.

    python -m overnight.flows.cluster.process scheduler ADDRESS
    python -m overnight.flows.cluster.process worker ADDRESS NAME SLOTS

A local cluster starts them with a pipe as standard input; they end when it is closed, so that none outlives its night.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from overnight.flows.cluster.choice import address_and_certificates
from overnight.schemas.errors import SandboxUnavailable
from overnight.tasks.evaluate.cluster.dask_members import serve_scheduler, serve_worker
from overnight.tasks.evaluate.cluster.machine import close_all
from overnight.tasks.evaluate.registry import create_backend

_WAITS_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds until a worker that lost its cluster, or does not find it, tries again."""


def schedule(address: str, ready: Callable[[str], None]) -> None:
    """Run a scheduler until the process is stopped; `ready` is called with its address."""
    with _ended_by_signal():
        serve_scheduler(*address_and_certificates(address), ready)


def work(address: str, *, name: str, slots: int, say: Callable[[str], None]) -> None:
    """Be a machine of a cluster until the process is stopped; join again whenever the cluster is lost.

    Raises:
        UsageError: If it is no address.
        EnvironmentFault: If there are no certificates, or no engine answers at the start.
    """
    where = address_and_certificates(address)
    with contextlib.closing(create_backend("docker")) as backend:
        say(f"{name}: {slots} slots, {backend.describe()}")
    attempt = 0

    def joined() -> None:
        nonlocal attempt
        attempt = 0
        say(f"joined {where[0]}")

    with _ended_by_signal():
        while True:
            try:
                serve_worker(*where, name=name, slots=slots, joined=joined)
                say("the cluster has ended, or was lost; joining again")
            except SandboxUnavailable as error:
                say(f"{error.message}; trying again")
            finally:
                close_all()
            time.sleep(_WAITS_S[min(attempt, len(_WAITS_S) - 1)])
            attempt += 1


@contextlib.contextmanager
def _ended_by_signal():  # noqa: ANN202
    """End the block without an error on Ctrl-C and SIGTERM.

    SIGTERM acts as Ctrl-C, on which asyncio cancels its task: an error raised amid its callbacks might be lost. A
    background job of a shell ignores Ctrl-C otherwise.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    before_int = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, before_int)


def _end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5.0)
    os._exit(0)


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    match sys.argv[1:]:
        case ["scheduler", address]:
            schedule(address, _write)
        case ["worker", address, name, slots]:
            work(address, name=name, slots=int(slots), say=_say)


if __name__ == "__main__":
    main()
