"""The head's side of the cluster's engine, dask.distributed: who is there, and tasks for one machine.

The head decides itself which machine gets a program; Dask connects, knows who left, and carries bytes. Sources that
this relies on: https://distributed.dask.org/en/stable/ (protocol, worker state, TLS).
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from overnight.schemas.errors import SandboxUnavailable
from overnight.tasks.evaluate.cluster.dask_members import (
    SLOTS,
    UNIQUE,
    Certificates,
    configured,
    require_distributed,
    security_of,
)
from overnight.tasks.evaluate.verdicts import clean

if TYPE_CHECKING:
    from distributed import Client, Future

_PLAIN = ("msgpack", "error")
"""Families of serialization that the head reads: plain data. It refuses pickled objects."""

_POLL_S = 0.5
"""Seconds between two looks at who is there."""

_CONNECT_S = 10.0

_NAME_CHARS = 100


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster.

    Attributes:
        address: Address of its worker, which is another after each start.
        slots: Programs that it evaluates at the same time.
    """

    address: str
    name: str
    slots: int


class MachineLost(Exception):
    """A machine left, or was given up, before it answered."""


class Connection:
    """The head's connection to a cluster. Thread-safe.

    It is made anew when it breaks. Machines that leave, and all when it breaks, are told to those who wait for them.

    Raises:
        EnvironmentFault: If the cluster does not answer, or refuses the certificate.
    """

    def __init__(self, address: str, certificates: Certificates) -> None:
        require_distributed()
        self._address, self._security = address, security_of(certificates)
        self._pending: dict[Pending, str] = {}
        self._machines: dict[str, Machine] = {}
        self._lock = threading.Lock()
        self._is_closed = threading.Event()
        self._client = self._connect()
        self._look()
        self._watcher = threading.Thread(target=self._watch, name="overnight-cluster", daemon=True)
        self._watcher.start()

    @property
    def machines(self) -> dict[str, Machine]:
        """The machines that are there, by address."""
        with self._lock:
            return dict(self._machines)

    def submit(self, machine: str, task: Callable[..., object], *args: object) -> Pending:
        """Give a machine a task: its arguments are plain data, or tasks of the same machine that come before it.

        Its answer is plain data, unless nobody asks for it.

        Raises:
            MachineLost: If the machine is not there.
        """
        pending = Pending()
        with self._lock:
            if machine not in self._machines or self._is_closed.is_set():
                raise MachineLost(f"{machine} is not there")
            self._pending[pending] = machine
        try:
            pending.follow(
                self._client.submit(
                    task,
                    *(arg._future if isinstance(arg, Pending) else arg for arg in args),
                    key=("overnight", uuid.uuid4().hex),
                    workers=[machine],
                    allow_other_workers=False,
                    pure=False,
                    retries=0,
                )
            )
        except _connection_faults() as error:
            pending.lose(f"the connection to the cluster broke: {error}")
        return pending

    def close(self) -> None:
        """Disconnect; tasks that run are lost."""
        self._is_closed.set()
        self._watcher.join()
        self._replace_machines({})
        self._client.close(timeout=2)

    def _connect(self) -> Client:
        from distributed import Client

        class PlainClient(Client):
            """A client that unpickles nothing that a worker sent with a result or an error."""

            def start(self, **kwargs: Any) -> None:
                try:
                    super().start(**kwargs)
                except BaseException:
                    self._loop_runner.stop()  # its thread would stay, one for each attempt
                    raise

            async def _ensure_connected(self, timeout: Any = None) -> None:
                await super()._ensure_connected(timeout=timeout)
                stream: Any = self.scheduler_comm
                if stream is not None:  # unless the client was closed meanwhile
                    stream.comm.deserialize = False  # errors of tasks come here, pickled

            def _handle_key_in_memory(self, key: Any = None, type: Any = None, workers: Any = None) -> None:  # noqa: A002, ARG002
                super()._handle_key_in_memory(key=key, type=None, workers=workers)

            def _handle_task_erred(self, key: Any = None, exception: Any = None, traceback: Any = None) -> None:  # noqa: ARG002
                super()._handle_task_erred(key=key, exception=MachineLost("the task failed"), traceback=None)

        try:
            with configured():
                return PlainClient(
                    self._address,
                    timeout=_CONNECT_S,
                    security=self._security,
                    set_as_default=False,
                    deserializers=list(_PLAIN),
                    name="overnight",
                )
        except (OSError, TimeoutError) as error:
            raise SandboxUnavailable(
                f"no cluster answers at {self._address}: {error}",
                remedy="Start one: overnight cluster start. Machines join with: overnight cluster worker ADDRESS",
            ) from error

    def _watch(self) -> None:
        while not self._is_closed.wait(_POLL_S):
            try:
                self._look()
            except Exception:  # noqa: BLE001  Dask raises many kinds; without this thread, no machine is ever found again
                with contextlib.suppress(Exception):  # the same; the next look fails, and this is tried again
                    self._replace_machines({})
                    self._connect_anew()

    def _connect_anew(self) -> None:
        broken: Any = self._client
        self._client = self._connect()
        broken.close(timeout=1)
        broken._loop_runner.stop()  # not done by a client that closed itself

    def _look(self) -> None:
        client: Any = self._client
        scheduler = client.scheduler
        if scheduler is None:
            raise ConnectionError("Dask's client has closed itself, since it could not connect again")
        info = client.sync(scheduler.identity, n_workers=-1, callback_timeout=_CONNECT_S)
        self._replace_machines(
            {str(address): _machine(str(address), said) for address, said in info["workers"].items()}
        )

    def _replace_machines(self, found: dict[str, Machine]) -> None:
        with self._lock:
            self._machines = found
            self._pending = {pending: machine for pending, machine in self._pending.items() if not pending.is_done}
            lost = [pending for pending, machine in self._pending.items() if machine not in found]
        for pending in lost:
            pending.lose("the machine left the cluster")


def _connection_faults() -> tuple[type[Exception], ...]:
    """Return the errors that Dask raises when the connection broke, or once it has closed it."""
    from distributed.client import ClosedClientError

    return OSError, RuntimeError, ValueError, ClosedClientError


def _machine(address: str, said: Mapping[str, Any]) -> Machine:
    """Return a machine, from what the scheduler says; one that Overnight did not start has a slot for each thread."""
    name = clean(str(said["name"]).partition(UNIQUE)[0])[:_NAME_CHARS]
    return Machine(address, name, int(said.get("resources", {}).get(SLOTS, said["nthreads"])))


class Pending:
    """A task that a machine was given."""

    def __init__(self) -> None:
        self._future: Future | None = None
        self._done = threading.Event()
        self._lost = ""

    def follow(self, future: Future) -> None:
        """Be done when Dask's future is."""
        self._future = future
        future.add_done_callback(lambda _: self._done.set())

    def lose(self, reason: str) -> None:
        """Be done without an answer."""
        if self._done.is_set():
            return
        self._lost = reason
        if self._future is not None:
            with contextlib.suppress(*_connection_faults()):
                self._future.cancel(force=True)
        self._done.set()

    @property
    def is_done(self) -> bool:
        """Whether there is an answer, or it is lost."""
        return self._done.is_set()

    @property
    def is_held(self) -> bool:
        """Whether the machine has its result, which it keeps until `release`."""
        return self._future is not None and self._future.status == "finished"

    def release(self) -> None:
        """Let go of the result, which the machine drops."""
        if self._future is not None:
            with contextlib.suppress(RuntimeError):  # its connection was closed
                self._future.release()

    def answer(self, timeout_s: float) -> object:
        """Wait for the answer.

        Raises:
            MachineLost: If the machine left, failed, sent what is no plain data, or took longer.
        """
        if not self._done.wait(timeout_s):
            self.lose(f"no answer within {timeout_s:.0f} s")
        if self._lost or self._future is None:
            raise MachineLost(self._lost)
        if self._future.status != "finished":
            raise MachineLost(f"the task is {self._future.status}")
        try:
            return self._future.result(timeout=_CONNECT_S)
        except Exception as error:
            raise MachineLost(f"its answer cannot be read: {type(error).__name__}") from error
        finally:
            self.release()
