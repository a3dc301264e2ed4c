"""The cluster's engine, dask.distributed: who is there, and tasks for one machine. Only this module imports it.

The head decides itself which machine gets a program; Dask connects, knows who left, and carries bytes. Sources that
this relies on: https://distributed.dask.org/en/stable/ (protocol, worker state, TLS).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from schemas.errors import EnvironmentFault, SandboxUnavailable, UsageError
from tasks.evaluate.cluster.heads import do_for, sign_of_life
from tasks.evaluate.judge import clean

if TYPE_CHECKING:
    from distributed import Client, Future
    from distributed.security import Security

_PLAIN = ("msgpack", "error")
"""Families of serialization that the head reads: plain data. It refuses pickled objects."""

_POLL_S = 0.5
"""Seconds between two looks at who is there."""

_SIGN_S = 20.0
"""Seconds between two signs of life of a head."""

_CONNECT_S = 10.0

_UNIQUE = " #"
"""What separates the name of a machine from what makes it unique, as Dask wants it."""

_NAME_CHARS = 100

_SLOTS = "slots"
"""Dask's resource that tells how many slots a machine has."""

_THREADS_PER_SLOT, _MORE_THREADS = 4, 8
"""Threads of a worker: for the programs of several nights, whose slots the machine shares out, and for short tasks."""

CONFIGURATION = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.allowed-failures": 1_000_000,
    "distributed.scheduler.worker-ttl": "30s",
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.comm.timeouts.tcp": "15s",
    "distributed.comm.timeouts.connect": "15s",
    "distributed.worker.daemon": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}
"""Dask's settings. Programs run in containers, so that Dask's limits on memory say nothing about them. Its pages, which
have no password, are left out."""

_NO_PAGES = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


@dataclass(frozen=True)
class Address:
    """Where the scheduler of a cluster listens.

    Attributes:
        url: The address, such as `tls://head:8786`.
        is_encrypted: Whether only members with a certificate may connect.
    """

    url: str
    is_encrypted: bool


@dataclass(frozen=True)
class Certificates:
    """Files of a member of an encrypted cluster: its CA, its certificate and its key."""

    ca: str
    certificate: str
    key: str


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster.

    Attributes:
        address: Address of its worker, which is another after each start.
        name: Its name, for people.
        slots: Programs that it evaluates at the same time.
    """

    address: str
    name: str
    slots: int


class MachineLost(Exception):
    """A machine left, or was given up, before it answered."""


class Members(Protocol):
    """Machines that can be given tasks: those of a `Connection`, or some of them."""

    @property
    def machines(self) -> dict[str, Machine]:
        """The machines that are there, by address."""
        ...

    def submit(self, machine: str, task: Callable[..., bytes], *args: object) -> Pending:
        """Give a machine a task.

        Raises:
            MachineLost: If the machine is not there.
        """
        ...


def parse_address(text: str) -> Address:
    """Parse the address of a cluster: `HOST:PORT`, `tls://HOST:PORT`, or `tcp://` on loopback.

    Raises:
        UsageError: If it is none, or without encryption for another machine.
    """
    scheme, separator, rest = text.rpartition("://")
    host, _, port = rest.rpartition(":")
    if not host or not port.isdigit() or scheme not in ("", "tcp", "tls") or (separator and not scheme):
        raise UsageError(
            f"expected the address of a cluster, such as tls://head:8786, got {text!r}",
            remedy="`overnight cluster start` prints it.",
        )
    is_here = host in ("127.0.0.1", "localhost", "[::1]")
    if scheme == "tcp" and not is_here:
        raise UsageError(
            f"expected an encrypted address, got {text!r}: tcp:// is for this machine alone",
            remedy=f"Name it tls://{rest}; `overnight cluster init` makes the certificates.",
        )
    is_encrypted = scheme == "tls" or not (scheme or is_here)
    return Address(f"{'tls' if is_encrypted else 'tcp'}://{rest}", is_encrypted)


def _security(address: Address, certificates: Certificates | None) -> Security | None:
    from distributed.security import Security

    if not address.is_encrypted:
        return None
    if certificates is None:
        raise EnvironmentFault(
            f"{address.url} is encrypted, and there are no certificates",
            remedy="Make them on the head: overnight cluster init. Other machines need a copy.",
        )
    files = (certificates.ca, certificates.certificate, certificates.key)
    roles = {
        f"tls_{role}_{part}": file
        for role in ("client", "scheduler", "worker")
        for part, file in zip(("cert", "key"), files[1:], strict=True)
    }
    return Security(tls_ca_file=files[0], require_encryption=True, **roles)


def _require_distributed() -> None:
    try:
        import distributed  # noqa: F401  (only whether it is there)
    except ImportError as error:
        raise EnvironmentFault(
            "a cluster needs dask.distributed, which is not installed",
            remedy="Install it beside Overnight: pip install 'overnight[cluster]'",
        ) from error


@contextlib.contextmanager
def _configured() -> Iterator[None]:
    from dask import config

    logging.getLogger("distributed").setLevel(logging.ERROR)
    with config.set(CONFIGURATION):
        yield


class Connection:
    """The head's connection to a cluster. Thread-safe.

    It is made anew when it breaks. Machines that leave, and all when it breaks, are told to those who wait for them.

    Args:
        address: The cluster.
        certificates: Files for an encrypted one.

    Raises:
        EnvironmentFault: If the cluster does not answer, or refuses the certificate.
    """

    def __init__(self, address: Address, certificates: Certificates | None = None) -> None:
        _require_distributed()
        self._address, self._security = address, _security(address, certificates)
        self._head = uuid.uuid4().hex
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

    def submit(self, machine: str, task: Callable[..., bytes], *args: object) -> Pending:
        """Give a machine a task. Its arguments and its answer are plain data.

        Raises:
            MachineLost: If the machine is not there.
        """
        return self._submit(machine, task, *args)

    def _submit(self, machine: str, task: Callable[..., bytes], *args: object, priority: int = 0) -> Pending:
        pending = Pending()
        with self._lock:
            if machine not in self._machines or self._is_closed.is_set():
                raise MachineLost(f"{machine} is not there")
            self._pending[pending] = machine
        try:
            pending.follow(
                self._client.submit(
                    do_for,
                    self._head,
                    task,
                    *args,
                    key=("overnight", uuid.uuid4().hex),
                    priority=priority,
                    workers=[machine],
                    allow_other_workers=False,
                    pure=False,
                    retries=0,
                )
            )
        except (RuntimeError, OSError, ValueError) as error:
            pending.lose(f"the connection to the cluster broke: {error}")
        pending.when_done(lambda: self._forget(pending))
        return pending

    def _forget(self, pending: Pending) -> None:
        with self._lock:
            self._pending.pop(pending, None)

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

            async def _ensure_connected(self, timeout: Any = None) -> None:
                await super()._ensure_connected(timeout=timeout)
                stream: Any = self.scheduler_comm
                stream.comm.deserialize = False  # errors of tasks come here, pickled

            def _handle_key_in_memory(self, key: Any = None, type: Any = None, workers: Any = None) -> None:  # noqa: A002, ARG002
                super()._handle_key_in_memory(key=key, type=None, workers=workers)

            def _handle_task_erred(self, key: Any = None, exception: Any = None, traceback: Any = None) -> None:  # noqa: ARG002
                super()._handle_task_erred(key=key, exception=MachineLost("the task failed"), traceback=None)

        try:
            with _configured():
                return PlainClient(
                    self._address.url,
                    timeout=_CONNECT_S,
                    security=self._security,
                    set_as_default=False,
                    deserializers=list(_PLAIN),
                    name="overnight",
                )
        except (OSError, TimeoutError) as error:
            raise SandboxUnavailable(
                f"no cluster answers at {self._address.url}: {error}",
                remedy="Start one: overnight cluster start. Machines join with: overnight worker ADDRESS",
            ) from error

    def _watch(self) -> None:
        next_sign = time.monotonic() + _SIGN_S
        while not self._is_closed.wait(_POLL_S):
            try:
                self._look()
                if time.monotonic() >= next_sign:
                    next_sign = time.monotonic() + _SIGN_S
                    self._send_signs()
            except (OSError, TimeoutError, RuntimeError, ValueError):
                self._replace_machines({})
                self._connect_anew()

    def _connect_anew(self) -> None:
        broken = self._client
        with contextlib.suppress(SandboxUnavailable, OSError, TimeoutError, RuntimeError):
            self._client = self._connect()
            broken.close(timeout=1)

    def _send_signs(self) -> None:
        """Let every machine know that this head is there, before all that waits."""
        for machine in self.machines:
            with contextlib.suppress(MachineLost):
                self._submit(machine, sign_of_life, priority=1).drop()

    def _look(self) -> None:
        client: Any = self._client
        info = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=_CONNECT_S)
        self._replace_machines(
            {str(address): _machine(str(address), said) for address, said in info["workers"].items()}
        )

    def _replace_machines(self, found: dict[str, Machine]) -> None:
        with self._lock:
            self._machines = found
            lost = [pending for pending, machine in self._pending.items() if machine not in found]
        for pending in lost:
            pending.lose("the machine left the cluster")


def _machine(address: str, said: Mapping[str, Any]) -> Machine:
    """Return a machine, from what the scheduler says; one that Overnight did not start has a slot for each thread."""
    name = clean(str(said["name"]).partition(_UNIQUE)[0])[:_NAME_CHARS]
    return Machine(address, name, int(said.get("resources", {}).get(_SLOTS, said["nthreads"])))


class Pending:
    """A task that a machine was given."""

    def __init__(self) -> None:
        self._future: Future | None = None
        self._done = threading.Event()
        self._lost = ""
        self._calls: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def follow(self, future: Future) -> None:
        """Be done when Dask's future is."""
        self._future = future
        future.add_done_callback(lambda _: self._end())

    def lose(self, reason: str) -> None:
        """Be done without an answer."""
        with self._lock:
            if self._done.is_set():
                return
            self._lost = reason
        if self._future is not None:
            self._future.cancel(force=True)
        self._end()

    def drop(self) -> None:
        """Let nobody wait for the answer, which is thrown away when it comes."""
        self.when_done(self._release)

    def _release(self) -> None:
        if self._future is not None:
            self._future.release()

    def when_done(self, call: Callable[[], None]) -> None:
        """Call a function once it is done, from any thread."""
        with self._lock:
            if not self._done.is_set():
                self._calls.append(call)
                return
        call()

    def _end(self) -> None:
        with self._lock:
            self._done.set()
            calls, self._calls = self._calls, []
        for call in calls:
            call()

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
            self._release()


def serve_scheduler(address: Address, certificates: Certificates | None, ready: Callable[[str], None]) -> None:
    """Run a scheduler until the process is stopped.

    Args:
        address: Where it listens.
        certificates: Files for an encrypted one.
        ready: Called with its address once it listens.
    """
    _require_distributed()
    security = _security(address, certificates)

    async def serve() -> None:
        from distributed import Scheduler

        async with Scheduler(
            host=address.url.rpartition(":")[0],
            port=int(address.url.rpartition(":")[2]),
            protocol=address.url.partition("://")[0],
            security=security or {},
            **_NO_PAGES,
        ) as scheduler:
            ready(str(scheduler.address))
            await scheduler.finished()

    with _configured():
        asyncio.run(serve())


def serve_worker(
    address: Address,
    certificates: Certificates | None,
    *,
    name: str,
    slots: int,
    joined: Callable[[], None] = lambda: None,
) -> None:
    """Be a machine of a cluster until the cluster ends, or the process is stopped.

    Args:
        address: The cluster.
        certificates: Files for an encrypted one.
        name: Name of this machine.
        slots: Programs that it evaluates at the same time.
        joined: Called once it has joined.

    Raises:
        SandboxUnavailable: If the cluster does not answer.
    """
    _require_distributed()
    security = _security(address, certificates)

    async def serve(folder: str) -> None:
        from distributed import Worker

        async with Worker(
            address.url,
            nthreads=_THREADS_PER_SLOT * slots + _MORE_THREADS,
            resources={_SLOTS: slots},
            name=f"{name}{_UNIQUE}{uuid.uuid4().hex}",
            security=security or {},
            memory_limit=0,
            local_directory=folder,
            death_timeout=60,
            **_NO_PAGES,
        ) as worker:
            joined()
            await worker.finished()

    try:
        with _configured(), tempfile.TemporaryDirectory(prefix="overnight-worker-") as folder:
            asyncio.run(serve(folder))
    except (OSError, TimeoutError) as error:
        raise SandboxUnavailable(
            f"no cluster answers at {address.url}: {error}", remedy="Start one on the head: overnight cluster start"
        ) from error
