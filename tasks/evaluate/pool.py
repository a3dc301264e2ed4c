"""Pools of sandbox containers for one job; many threads ask, each waits for a free container."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from schemas.bundle import Source
from schemas.errors import SandboxUnavailable
from schemas.job import Job
from schemas.outcome import Outcome, Verdict
from tasks.evaluate.container_worker import ContainerWorker
from tasks.evaluate.host_slots import HostSlots
from tasks.evaluate.registry import create_backend
from tasks.evaluate.sandbox import Channel, runner_config

DEFAULT_BACKEND = "docker"


class SandboxPool:
    """A `Sandbox` of several containers.

    Attributes:
        job: The job that programs are evaluated on; other inputs need another pool.
    """

    def __init__(
        self,
        job: Job,
        launch: Callable[[], Channel],
        *,
        slots: int,
        own_users: bool = True,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.job = job
        self._machine = host_slots(slots)
        self._slots = [ContainerWorker(job, launch, own_users=own_users) for _ in range(slots)]
        self._free: queue.LifoQueue[ContainerWorker | None] = queue.LifoQueue()
        self._closing = threading.Event()
        self._on_close = on_close
        try:
            with ThreadPoolExecutor(slots) as starters:
                list(starters.map(ContainerWorker.start, self._slots))
        except BaseException:
            self.close()
            raise
        for slot in self._slots:
            self._free.put(slot)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of Python and numpy in the image, as far as it has them."""
        return dict(self._slots[0].versions)

    @property
    def starts(self) -> int:
        """Number of containers started so far: one for each slot, and one for each that was lost."""
        return sum(slot.starts for slot in self._slots)

    def evaluate(self, source: Source) -> Verdict:
        """See `Sandbox.evaluate`."""
        slot = self._free.get()
        if slot is None:
            self._free.put(None)
            return Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")
        try:
            with self._machine.acquire(self._closing):
                return slot.evaluate(source)
        finally:
            self._free.put(None if self._closing.is_set() else slot)

    def close(self) -> None:
        """End every container and wait until all are removed; calling it again does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        # Each thread that waits for a slot takes this and puts it back.
        self._free.put(None)
        with ThreadPoolExecutor(len(self._slots)) as closers:
            list(closers.map(ContainerWorker.close, self._slots))
        self._on_close()

    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FreshContainerPool:
    """A `Sandbox` with a fresh container for every program.

    From the second program on, containers are started ahead: one, then two, up to the number of slots, since many
    programs are likely to be followed by more. One that cannot be started is no error before it is needed.

    Args:
        job: The job that programs are evaluated on.
        launch: Starts a container.
        slots: Slots of the run; as many as there are cores by default.
        own_users: Whether each process of a candidate becomes a user of its own.
        on_close: Called once the last container is gone.
    """

    def __init__(
        self,
        job: Job,
        launch: Callable[[], Channel],
        *,
        slots: int | None = None,
        own_users: bool = True,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.job = job
        self._machine = host_slots(slots)
        self._launch = launch
        self._own_users = own_users
        self._on_close = on_close
        self._most_ahead = slots or os.cpu_count() or 1
        self._starters = ThreadPoolExecutor(self._most_ahead, "overnight-starter")
        self._programs = 0
        self._starting = 0
        self._ready: deque[ContainerWorker] = deque()
        self._open: set[ContainerWorker] = set()
        self._closing = threading.Event()
        self._lock = threading.Lock()

    def evaluate(self, source: Source) -> Verdict:
        """See `Sandbox.evaluate`."""
        slot = self._take()
        if slot is None:
            return Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")
        try:
            with self._machine.acquire(self._closing):
                return slot.evaluate(source)
        finally:
            self._remove(slot)

    def _take(self) -> ContainerWorker | None:
        """Return a container that has run nothing, and start others ahead; `None` once the pool is closed."""
        with self._lock:
            if self._closing.is_set():
                return None
            slot = self._ready.popleft() if self._ready else self._new()
            ahead = min(self._most_ahead, self._programs)
            self._programs += 1
            for _ in range(ahead - len(self._ready) - self._starting):
                self._starting += 1
                self._starters.submit(self._start_ahead, self._new())
            return slot

    def _new(self) -> ContainerWorker:
        slot = ContainerWorker(self.job, self._launch, own_users=self._own_users)
        self._open.add(slot)
        return slot

    def _start_ahead(self, slot: ContainerWorker) -> None:
        """Start a container ahead; whatever goes wrong, it no longer counts as one that is being started."""
        is_ready = False
        try:
            slot.start()
            is_ready = True
        except SandboxUnavailable:
            pass
        finally:
            with self._lock:
                self._starting -= 1
                if is_ready:
                    self._ready.append(slot)
            if not is_ready:
                self._remove(slot)

    def _remove(self, slot: ContainerWorker) -> None:
        slot.close()
        with self._lock:
            self._open.discard(slot)

    def close(self) -> None:
        """See `Sandbox.close`."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            still_open = list(self._open)
        self._starters.shutdown(wait=False, cancel_futures=True)
        if still_open:
            with ThreadPoolExecutor(len(still_open)) as closers:
                list(closers.map(ContainerWorker.close, still_open))
        self._starters.shutdown()
        self._on_close()


def open_pool(
    job: Job,
    *,
    image: str,
    backend: str = DEFAULT_BACKEND,
    slots: int | None = None,
    labels: Mapping[str, str] | None = None,
    runtime: str | None = None,
) -> SandboxPool:
    """Start one container for each slot, all at once, and remove those that dead processes left.

    Args:
        job: The job that programs are evaluated on.
        image: A local image with Python 3.11 or later.
        backend: Name of the sandbox backend.
        slots: Number of containers; as many as there are cores by default.
        labels: Labels of the containers; `overnight.run` names the run.
        runtime: A runtime that the backend knows, such as `runsc`; its own by default.

    Raises:
        UsageError: If there is no such backend.
        SandboxUnavailable: If the backend does not answer, lacks the image or the runtime, or cannot start a container.
        SpecificationError: If the inputs are not plain data.
    """
    slots = slots or os.cpu_count() or 1
    opened = create_backend(backend, runners=slots)
    try:
        opened.require(image, runtime)
        opened.remove_leftovers()
        config = runner_config(job, image, labels, runtime)
        return SandboxPool(
            job, lambda: opened.start(config), slots=slots, own_users=opened.own_users, on_close=opened.close
        )
    except BaseException:
        opened.close()
        raise


def open_fresh_pool(
    job: Job,
    *,
    image: str,
    backend: str = DEFAULT_BACKEND,
    slots: int | None = None,
    labels: Mapping[str, str] | None = None,
    runtime: str | None = None,
) -> FreshContainerPool:
    """Make a sandbox with a fresh container for every program; the backend is not asked before the first.

    Args: as for `open_pool`.
    """
    opened = create_backend(backend, runners=slots or os.cpu_count() or 1)
    config = runner_config(job, image, labels, runtime)
    return FreshContainerPool(
        job, lambda: opened.start(config), slots=slots, own_users=opened.own_users, on_close=opened.close
    )


def host_slots(wanted: int | None) -> HostSlots:
    """Return the host's slots: as many as there are cores, or `wanted` if that is more."""
    return HostSlots(max(wanted or 0, os.cpu_count() or 1))
