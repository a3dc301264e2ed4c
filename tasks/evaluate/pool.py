"""Pools of sandbox containers for one job; many threads ask, each waits for a free container."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Self

from overnight.schemas.bundle import Source
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.job import Job
from overnight.schemas.outcome import Verdict
from overnight.schemas.question import Ask
from overnight.tasks.evaluate.container_worker import ContainerWorker
from overnight.tasks.evaluate.host_slots import HostSlots
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import Death, RunnerConfig, Sandbox, SandboxBackend, runner_config

DEFAULT_BACKEND = "docker"


class _ContainerPool(Sandbox):
    """A `Sandbox` of containers of this machine, which closes its backend with itself."""

    def __init__(
        self, job: Job, backend: SandboxBackend, config: RunnerConfig, *, slots: int | None, ask: Ask | None = None
    ) -> None:
        super().__init__(job)
        self._backend = backend
        self._machine = host_slots(slots)
        self._new = partial(ContainerWorker, job, partial(backend.start, config), own_users=backend.own_users, ask=ask)
        self._workers: set[ContainerWorker] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """End every container and wait until all are removed; calling it again does nothing."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            workers = list(self._workers)
        if workers:
            with ThreadPoolExecutor(len(workers)) as closers:
                list(closers.map(ContainerWorker.close, workers))
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SandboxPool(_ContainerPool):
    """Several containers, of which each runs one program after the other."""

    def __init__(
        self, job: Job, backend: SandboxBackend, config: RunnerConfig, *, slots: int, ask: Ask | None = None
    ) -> None:
        super().__init__(job, backend, config, slots=slots, ask=ask)
        self._workers = {self._new() for _ in range(slots)}
        self._free: queue.LifoQueue[ContainerWorker | None] = queue.LifoQueue()
        try:
            with ThreadPoolExecutor(slots) as starters:
                list(starters.map(ContainerWorker.start, self._workers))
        except BaseException:
            self.close()
            raise
        for worker in self._workers:
            self._free.put(worker)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of Python and numpy in the image, as far as it has them."""
        return dict(next(iter(self._workers)).versions)

    @property
    def starts(self) -> int:
        """Number of containers started so far: one for each slot, and one for each that was lost."""
        return sum(worker.starts for worker in self._workers)

    def run(self, source: Source) -> Verdict | Death:
        """See `Sandbox.run`."""
        worker = self._free.get()
        if worker is None:
            self._free.put(None)
            return Death("the sandbox was closed")
        try:
            with self._machine.acquire(self._closing):
                return worker.run(source)
        finally:
            self._free.put(None if self._closing.is_set() else worker)

    def close(self) -> None:
        """See `_ContainerPool.close`."""
        super().close()
        # Each thread that waits for a slot takes this and puts it back.
        self._free.put(None)


_FREQUENT_S = 30.0
"""Seconds between two runs up to which the container of a next one is started ahead."""


class FreshContainerPool(_ContainerPool):
    """A fresh container for every run, which starts before the program waits for a host slot.

    Where runs are frequent, the next one's container is started ahead.
    """

    def __init__(
        self, job: Job, backend: SandboxBackend, config: RunnerConfig, *, slots: int | None, ask: Ask | None = None
    ) -> None:
        super().__init__(job, backend, config, slots=slots, ask=ask)
        self._starter = ThreadPoolExecutor(1, "overnight-fresh")
        self._ahead: tuple[ContainerWorker, Future[None]] | None = None
        self._ended_at = -_FREQUENT_S

    def run(self, source: Source) -> Verdict | Death:
        """See `Sandbox.run`."""
        is_frequent = time.monotonic() - self._ended_at < _FREQUENT_S
        worker = self._take()
        if worker is None:
            return Death("the sandbox was closed")
        try:
            worker.start()
            with self._machine.acquire(self._closing):
                return worker.run(source)
        except SandboxUnavailable as fault:
            return Death(str(fault))
        finally:
            worker.close()
            self._ended_at = time.monotonic()
            with self._lock:
                self._workers.discard(worker)
                if is_frequent and not self._closing.is_set() and self._ahead is None:
                    ahead = self._added()
                    self._ahead = ahead, self._starter.submit(ahead.start)

    def _take(self) -> ContainerWorker | None:
        """Return a container that has run nothing, which may have started; `None` if the pool is closed."""
        with self._lock:
            if self._closing.is_set():
                return None
            if self._ahead is None:
                return self._added()
            (worker, started), self._ahead = self._ahead, None
        wait([started])  # if it could not be started, it is tried once more
        return worker

    def _added(self) -> ContainerWorker:
        worker = self._new()
        self._workers.add(worker)
        return worker

    def close(self) -> None:
        """See `_ContainerPool.close`."""
        super().close()
        self._starter.shutdown()


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


def host_slots(wanted: int | None) -> HostSlots:
    """Return the host's slots: as many as there are cores, or `wanted` if that is more."""
    return HostSlots(max(wanted or 0, os.cpu_count() or 1))
