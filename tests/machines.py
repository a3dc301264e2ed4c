"""A cluster of the tests' own: a scheduler and machines, each a process that may be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

from overnight.flows.cluster.certificates import VARIABLE, create_certificates
from overnight.flows.cluster.choice import address_and_certificates
from overnight.tasks.evaluate.cluster.dask_client import Connection
from tests.accidents import wait_until

_ROOT = Path(__file__).parents[1]
"""Folder from which machines import the tasks of the tests."""

FORGER = """
import distributed.worker
from distributed.protocol import to_serialize
def forged(error, status="error"):
    texts = {"traceback": None, "exception_text": "", "traceback_text": ""}
    return {"status": status, "exception": to_serialize(error), **texts}
distributed.worker.error_message = forged
from overnight.flows.cluster.process import main
main()
"""
"""A worker that sends errors as objects to be unpickled, without Dask's caution."""

LIAR = """
import overnight.tasks.evaluate.cluster.machine as machine
honest = machine.verdict_fields
def lie(verdict):
    fields = honest(verdict)
    return fields | {"scores": tuple(score + 100.0 for score in fields["scores"])}
machine.verdict_fields = lie
from overnight.flows.cluster.process import main
main()
"""
"""A worker that adds 100 to each score."""


WITHOUT_ENGINE = """
import os
import overnight.tasks.evaluate.cluster.machine as machine
from overnight.flows.cluster.process import main
def forget_engine(backend, **settings):
    os.environ["DOCKER_HOST"] = "unix:///nowhere.sock"
    return machine_backend(backend)
machine_backend, machine.create_backend = machine.create_backend, forget_engine
main()
"""
"""A machine whose engine does not answer once it has joined."""


class Hostile(Exception):
    """Does something wherever it is unpickled."""

    def __reduce__(self):
        return exec, (f"import os; open(os.path.join({self.args[0]!r}, str(os.getpid())), 'w')",)


def raise_hostile(folder: str) -> bytes:
    """A task that raises an error which leaves a file in a folder, named after the process that unpickles it."""
    raise Hostile(folder)


def return_hostile(folder: str) -> bytes:
    """A task that returns such an object in place of bytes."""
    return Hostile(folder)  # pyright: ignore[reportReturnType]


def answer() -> bytes:
    """A task that answers."""
    return b"answer"


class Machines:
    """A scheduler and its machines.

    Args:
        folder: Where locks and logs are.
        listen: Where the scheduler listens.
    """

    def __init__(self, folder: Path, listen: str = "tls://127.0.0.1:0") -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._scheduler = self._start("scheduler", listen)
        self.address = self._address()

    def _address(self) -> str:
        assert self._scheduler.stdout is not None
        return self._scheduler.stdout.readline().decode().strip()

    def join(
        self, name: str, slots: int = 1, *, program: str = "", inside: Sequence[str] = (), **environment: str
    ) -> None:
        """Start a machine, and wait until the cluster has it.

        Args:
            name: Its name.
            slots: Its slots.
            program: Text of the worker's program, if it is not the usual one.
            inside: Beginning of a command that runs it somewhere else.
            environment: Its environment variables, in addition to those of this process.
        """
        own = ["-c", program] if program else ["-m", "overnight.flows.cluster.process"]
        self._workers[name] = self._start(
            "worker", self.address, name, str(slots), program=own, inside=inside, environment=environment
        )
        wait_until(lambda: name in self.names(), lambda: (self._folder / "log").read_text())

    def connect(self) -> Connection:
        """Connect to it as a head."""
        return Connection(*address_and_certificates(self.address))

    def names(self) -> set[str]:
        """Names of the machines that the cluster has now."""
        with contextlib.closing(self.connect()) as connection:
            return {machine.name for machine in connection.machines.values()}

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the machines that were started last, by name, and of the `scheduler`."""
        return {name: worker.pid for name, worker in self._workers.items()} | {"scheduler": self._scheduler.pid}

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a machine a signal."""
        self._workers[name].send_signal(how)

    def restart_scheduler(self) -> None:
        """Kill the scheduler and start another at the same address."""
        self._scheduler.kill()
        self._scheduler.wait()
        self._scheduler = self._start("scheduler", self.address)
        assert self._address() == self.address

    def close(self) -> None:
        self._stack.close()

    def _start(
        self,
        *arguments: str,
        program: Sequence[str] = ("-m", "overnight.flows.cluster.process"),
        inside: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        own = {"OVERNIGHT_SLOTS": str(self._folder / arguments[-2]), "PYTHONPATH": str(_ROOT)}
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*inside, sys.executable, "-P", *program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **own, **(environment or {})},
                start_new_session=True,
            )
        self._stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.send_signal(signal.SIGCONT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def machines(folder: Path, listen: str = "tls://127.0.0.1:0") -> Iterator[Machines]:
    """A cluster without machines, which ends with the context.

    Its certificates are those that the environment names, or new ones, which it names then.

    Args:
        folder: Where locks and logs are.
        listen: Where the scheduler listens.
    """
    with contextlib.ExitStack() as stack:
        if VARIABLE not in os.environ:
            create_certificates(folder / "certificates")
            stack.enter_context(patch.dict(os.environ, {VARIABLE: str(folder / "certificates")}))
        started = Machines(folder, listen)
        stack.callback(started.close)
        yield started
