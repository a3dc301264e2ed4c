"""Run calls in threads, in an order of their own instead of the order in which they were submitted."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

T = TypeVar("T")


class OrderedExecutor(Generic[T]):
    """Runs calls in the threads of an executor: of those that wait, the one with the lowest place first.

    Args:
        threads: The threads.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._waiting: list[tuple[tuple[int, ...], int, Callable[[], T], Future[T]]] = []
        self._number = itertools.count()
        self._lock = threading.Lock()

    def submit(self, place: tuple[int, ...], call: Callable[[], T]) -> Future[T]:
        """Submit a call; of equal places, the one that was submitted first comes first."""
        future: Future[T] = Future()
        with self._lock:
            heapq.heappush(self._waiting, (place, next(self._number), call, future))
        self._threads.submit(self._run_first)
        return future

    def _run_first(self) -> None:
        with self._lock:
            _, _, call, future = heapq.heappop(self._waiting)
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  (raised where the result is waited for)
            future.set_exception(error)
        else:
            future.set_result(result)
