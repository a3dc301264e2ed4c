"""Pools of sandbox containers for one job; many threads ask, each waits for a free container."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from overnight.schemas.bundle import Source
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.job import Job
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.question import Ask
from overnight.tasks.evaluate.container_worker import ContainerWorker
from overnight.tasks.evaluate.host_slots import HostSlots
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import RunnerConfig, SandboxBackend, runner_config

DEFAULT_BACKEND = "docker"


class SandboxPool:
    """A `Sandbox` of several containers, which closes its backend with itself.

    Attributes:
        job: The job that programs are evaluated on; other inputs need another pool.
    """

    def __init__(
        self, job: Job, backend: SandboxBackend, config: RunnerConfig, *, slots: int, ask: Ask | None = None
    ) -> None:
        self.job = job
        self._backend = backend
        self._machine = host_slots(slots)
        self._slots = [_worker(job, backend, config, ask) for _ in range(slots)]
        self._free: queue.LifoQueue[ContainerWorker | None] = queue.LifoQueue()
        self._closing = threading.Event()
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
        self._backend.close()

    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FreshContainerPool:
    """A `Sandbox` with a fresh container for every program, which starts before the program waits for a host slot."""

    def __init__(
        self,
        job: Job,
        backend: SandboxBackend,
        config: RunnerConfig,
        *,
        slots: int | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.job = job
        self._backend = backend
        self._machine = host_slots(slots)
        self._new = partial(_worker, job, backend, config, ask)
        self._open: set[ContainerWorker] = set()
        self._closing = threading.Event()
        self._lock = threading.Lock()

    def evaluate(self, source: Source) -> Verdict:
        """See `Sandbox.evaluate`."""
        with self._lock:
            if self._closing.is_set():
                return Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")
            slot = self._new()
            self._open.add(slot)
        try:
            slot.start()
            with self._machine.acquire(self._closing):
                return slot.evaluate(source)
        except SandboxUnavailable as fault:
            return Verdict(Outcome.SANDBOX_ERROR, error=str(fault))
        finally:
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
        if still_open:
            with ThreadPoolExecutor(len(still_open)) as closers:
                list(closers.map(ContainerWorker.close, still_open))
        self._backend.close()


def open_pool(
    job: Job,
    *,
    image: str,
    backend: str = DEFAULT_BACKEND,
    slots: int | None = None,
    labels: Mapping[str, str] | None = None,
    runtime: str | None = None,
    ask: Ask | None = None,
) -> SandboxPool:
    """Start one container for each slot, all at once, and remove those that dead processes left.

    Args:
        job: The job that programs are evaluated on.
        image: A local image with Python 3.11 or later.
        backend: Name of the sandbox backend.
        slots: Number of containers; as many as there are cores by default.
        labels: Labels of the containers; `overnight.run` names the run.
        runtime: A runtime that the backend knows, such as `runsc`; its own by default.
        ask: Answers questions of the scoring; None if no model is named.

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
        return SandboxPool(job, opened, config, slots=slots, ask=ask)
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
    ask: Ask | None = None,
) -> FreshContainerPool:
    """Make a sandbox with a fresh container for every program; the backend is not asked before the first.

    Args: as for `open_pool`.
    """
    opened = create_backend(backend, runners=slots or os.cpu_count() or 1)
    config = runner_config(job, image, labels, runtime)
    return FreshContainerPool(job, opened, config, slots=slots, ask=ask)


def _worker(job: Job, backend: SandboxBackend, config: RunnerConfig, ask: Ask | None) -> ContainerWorker:
    return ContainerWorker(job, partial(backend.start, config), own_users=backend.own_users, ask=ask)


def host_slots(wanted: int | None) -> HostSlots:
    """Return the host's slots: as many as there are cores, or `wanted` if that is more."""
    return HostSlots(max(wanted or 0, os.cpu_count() or 1))
