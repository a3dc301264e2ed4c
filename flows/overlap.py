"""Generations of a night that overlap: each is a flow run in a thread of its own, and they are committed in order."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future

from prefect.exceptions import CancelledRun

from schemas.errors import UsageError
from schemas.generation import RunRecord


def generations_ahead(run: RunRecord) -> int:
    """Return how many generations may be under way before the one whose turn it is ends.

    As many as the window reaches into; with batch jobs one, since their prompts are sent together anyway.
    """
    search = run.problem.settings.search
    if run.problem.settings.sampling.batch_api:
        return 1
    return -(-search.window_prompts // search.prompts)


class OverlappingGenerations:
    """Runs generations, and begins the next ones before their turn.

    Args:
        run: Runs one generation; called in a thread, with the context in which this object was made.
        may_begin: Returns whether a generation may begin before its turn.
        ahead: Number of generations that may be under way before the one whose turn it is ends.
    """

    def __init__(self, run: Callable[[int], object], may_begin: Callable[[int], bool], ahead: int) -> None:
        self._run = run
        self._may_begin = may_begin
        self._ahead = ahead
        self._turn = 0
        self._under_way: dict[int, Future[None]] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._context = contextvars.copy_context()

    def run(self, number: int) -> None:
        """Run a generation whose turn it is, or wait for it if it is under way; raise its error.

        One that was withdrawn, since an earlier generation failed after it had begun, begins again.
        """
        while True:
            with self._lock:
                self._turn = number
                begun_early = self._under_way.get(number)
                future = begun_early or self._begin(number)
            try:
                future.result()
            except CancelledRun:
                continue
            except UsageError:  # the one before it had failed by the time that it began
                if begun_early is None:
                    raise
                continue
            finally:
                with self._lock:
                    self._under_way.pop(number, None)
            return

    def begin_next(self, number: int) -> None:
        """Begin the generation after this one, all of whose prompts are being sampled, if it may begin."""
        following = number + 1
        if not self._may_begin(following):
            return
        with self._lock:
            before = self._under_way.get(following)
            if (before is None or before.done()) and following <= self._turn + self._ahead:
                self._begin(following)

    def _begin(self, number: int) -> Future[None]:
        future: Future[None] = Future()
        self._under_way[number] = future
        # A daemon, so that a thread which waits for a dead server cannot keep the process alive.
        context = self._context.copy()
        thread = threading.Thread(
            target=context.run, args=(self._run_in_thread, number, future), name=f"overnight-g{number}", daemon=True
        )
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        thread.start()
        return future

    def _run_in_thread(self, number: int, future: Future[None]) -> None:
        try:
            self._run(number)
        except BaseException as error:  # noqa: BLE001  (raised where the generation is waited for)
            future.set_exception(error)
        else:
            future.set_result(None)

    def wait(self) -> None:
        """Wait until no generation is under way."""
        for thread in self._threads:
            thread.join()
