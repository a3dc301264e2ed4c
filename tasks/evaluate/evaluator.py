"""Evaluation of candidates in the sandbox: each distinct program of a generation once, a verdict for each candidate."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future
from functools import partial
from queue import SimpleQueue
from types import MappingProxyType

from overnight.schemas.outcome import DUPLICATE_IN_RUN, STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import Candidate
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.evaluate.kept_verdicts import Keep, KeptVerdicts, Stored
from overnight.tasks.evaluate.sandbox import Sandbox

Report = Callable[[int, Candidate, Verdict], None]
"""Takes the number of a generation, a candidate of it and its verdict."""

_LAST = (sys.maxsize,)
"""Place after that of every candidate."""

_STOPPED = Verdict(Outcome.SANDBOX_ERROR, error="the evaluation was stopped")


class Evaluator(KeptVerdicts[Future[Verdict]]):
    """Evaluates the candidates of a run, from several threads.

    Args:
        sandbox: The sandbox that runs programs.
        skeleton: The fixed part of every program.
        known: Returns the code hashes of bodies evaluated in earlier generations, which are duplicates; `None` where
            duplicates are evaluated again.
        report: Called once for each verdict, as soon as it is there, from any thread.
        threads: One thread for each slot, shared by all generations. Of the candidates that wait, the first in the
            order of generations and indices runs next, since results are told in this order.
        slots: Number of trials that may run at a time; as many as there are threads by default.
        keep: Stores verdicts.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        skeleton: Skeleton,
        known: Callable[[], Collection[str] | None],
        report: Report,
        threads: Executor,
        slots: int = sys.maxsize,
        keep: Keep = lambda *_: None,
    ) -> None:
        super().__init__(sandbox, skeleton, keep)
        self._known = known
        self._report = report
        self._threads = OrderedExecutor(threads, slots)
        self._trials: set[Future[Verdict]] = set()
        self._left_out: dict[int, Collection[int]] = {}
        self._begun: dict[Future[Verdict], float] = {}

    def begin_attempt(self, generation: int, stored: Stored = MappingProxyType({})) -> None:
        """Prepare a further attempt at a generation: drop what the sandbox itself failed to evaluate, take the rest.

        The rest are the verdicts of this process, and those that earlier ones stored.
        """
        evaluates_duplicates = self._known() is None
        with self._lock:
            self._verdicts = {
                key: future
                for key, future in self._verdicts.items()
                if key[0] != generation or not _is_to_be_repeated(future)
            }
            for (index, code_hash), verdict in stored.items():
                key = generation, f"{index}/{code_hash}" if evaluates_duplicates else code_hash
                self._verdicts.setdefault(key, _ended(verdict))

    def leave_out(self, generation: int, indices: Collection[int]) -> None:
        """Do not run these candidates, by index, since a record says that a deadline cut them short."""
        self._left_out[generation] = indices

    def stop(self) -> None:
        """Run no further candidate and no trial; candidates that wait become `sandbox_error`."""
        with self._lock:
            self._verdicts = {key: future for key, future in self._verdicts.items() if not future.cancel()}
            trials = list(self._trials)
        for trial in trials:
            trial.cancel()

    def cut(self) -> None:
        """Run nothing further and do not wait for running candidates, whose sandbox is being closed."""
        super().cut()
        self.stop()

    def evaluate(self, candidates: Sequence[Candidate], generation: int) -> list[tuple[Candidate, Verdict]]:
        """Evaluate candidates; equal ones of a generation share one evaluation.

        Raises:
            SandboxUnavailable: If the engine is at fault; verdicts so far are kept for a further attempt.
            QuestionUnanswered, ProviderError: If a question of the scoring is not answered now; likewise.
        """
        known = self._known()
        begun = [self._begin(candidate, generation, known) for candidate in candidates]
        verdicts: dict[int, Verdict] = {}
        for place in _as_they_end(begun):
            verdict = begun[place]
            ended = verdict if isinstance(verdict, Verdict) else self._result(verdict)
            verdicts[place] = self.told(candidates[place], ended)
            self._report(generation, candidates[place], verdicts[place])
        return [(candidate, verdicts[place]) for place, candidate in enumerate(candidates)]

    def begin(self, candidate: Candidate, generation: int) -> Verdict | Future[Verdict]:
        """Begin to evaluate a candidate before it is judged, where its verdict is there then.

        Returns:
            Its verdict, or a future of it, which must not be cancelled and raises as `submit_trial` says.
        """
        begun = self._begin(candidate, generation, self._known())
        if isinstance(begun, Verdict):
            return begun
        told = Future[Verdict]()
        begun.add_done_callback(lambda ended: self._tell(candidate, ended, told))
        return told

    def _tell(self, candidate: Candidate, ended: Future[Verdict], told: Future[Verdict]) -> None:
        if ended.cancelled():
            told.cancel()
        elif error := ended.exception():
            told.set_exception(error)
        else:
            told.set_result(self.told(candidate, ended.result()))

    def under_way_s(self) -> list[float]:
        """Return for how many seconds each candidate without a verdict has waited and run, the oldest first."""
        now = time.monotonic()
        return [now - begun for begun in list(self._begun.values())]

    def reserve_slot(self) -> contextlib.AbstractContextManager[None]:
        """Leave one slot free of trials in the block, for a confirmation; trials that run are not cancelled."""
        return self._threads.reserve_slot()

    def submit_trial(self, body: str, sandbox: Sandbox | None = None) -> Future[Verdict]:
        """Begin to evaluate a body that is no candidate, once no candidate or confirmation needs the slot.

        Args:
            body: The body.
            sandbox: Sandbox that runs it; by default, that of the candidates.

        Returns:
            A future of its verdict, which is `STOPPED_BY_DEADLINE` if the night was cut before. It raises
            SandboxUnavailable if the engine is at fault. Cancelling it, as `stop` does, leaves a body that waits out.
        """
        trial = self._threads.submit(_LAST, partial(self._judge, body, sandbox=sandbox))
        with self._lock:
            self._trials.add(trial)
        trial.add_done_callback(self._trials.discard)
        return trial

    def _begin(self, candidate: Candidate, generation: int, known: Collection[str] | None) -> Verdict | Future[Verdict]:
        if candidate.verdict is not None:
            return candidate.verdict
        if known is not None and candidate.code_hash in known:
            return DUPLICATE_IN_RUN
        key = candidate.code_hash if known is not None else f"{candidate.index}/{candidate.code_hash}"
        with self._lock:
            if (generation, key) not in self._verdicts:
                run = partial(self._run, candidate, generation)
                submitted = self._threads.submit((generation, candidate.index), run)
                self._verdicts[generation, key] = submitted
                self._begun[submitted] = time.monotonic()
                submitted.add_done_callback(lambda ended: self._begun.pop(ended, None))
            return self._verdicts[generation, key]

    def _result(self, future: Future[Verdict]) -> Verdict:
        try:
            return future.result()
        except CancelledError:
            return STOPPED_BY_DEADLINE if self._is_cut else _STOPPED

    def _run(self, candidate: Candidate, generation: int) -> Verdict:
        if candidate.index in self._left_out.get(generation, ()):
            return STOPPED_BY_DEADLINE
        return self._stored(generation, candidate, self._judge(candidate.body, candidate.code_hash))


class OrderedExecutor:
    """Runs calls in the threads of an executor: of those that wait, the one with the lowest place first.

    Args:
        threads: The threads.
        slots: Number of calls of the last place that run at a time.
    """

    def __init__(self, threads: Executor, slots: int) -> None:
        self._threads = threads
        self._slots_for_trials = slots
        self._waiting: list[tuple[tuple[int, ...], int, Callable[[], Verdict], Future[Verdict]]] = []
        self._postponed = 0
        self._number = itertools.count()
        self._lock = threading.Lock()

    def submit(self, place: tuple[int, ...], call: Callable[[], Verdict]) -> Future[Verdict]:
        """Submit a call; of equal places, the one that was submitted first comes first."""
        future: Future[Verdict] = Future()
        with self._lock:
            heapq.heappush(self._waiting, (place, next(self._number), call, future))
        self._threads.submit(self._run_first)
        return future

    @contextlib.contextmanager
    def reserve_slot(self) -> Iterator[None]:
        """Run calls of the last place in one thread less while the block lasts."""
        with self._lock:
            self._slots_for_trials -= 1
        try:
            yield
        finally:
            self._return_slot()

    def _return_slot(self) -> None:
        with self._lock:
            self._slots_for_trials += 1
            again, self._postponed = self._postponed, 0
        with contextlib.suppress(RuntimeError):  # the threads have ended
            for _ in range(again):
                self._threads.submit(self._run_first)

    def _run_first(self) -> None:
        with self._lock:
            is_trial = self._waiting[0][0] == _LAST
            if is_trial and self._slots_for_trials <= 0:
                self._postponed += 1
                return
            _, _, call, future = heapq.heappop(self._waiting)
            self._slots_for_trials -= is_trial
        if future.set_running_or_notify_cancel():
            _run(call, future)
        if is_trial:
            self._return_slot()


def _run(call: Callable[[], Verdict], future: Future[Verdict]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001  (raised where the result is waited for)
        future.set_exception(error)
    else:
        future.set_result(result)


def _as_they_end(begun: Sequence[Verdict | Future[Verdict]]) -> Iterator[int]:
    """Yield the places of verdicts that are there, then those of the others as they arrive."""
    ended: SimpleQueue[int] = SimpleQueue()
    for place, verdict in enumerate(begun):
        if isinstance(verdict, Verdict):
            ended.put(place)
        else:
            verdict.add_done_callback(lambda _, place=place: ended.put(place))
    for _ in begun:
        yield ended.get()


def _ended(verdict: Verdict) -> Future[Verdict]:
    future = Future[Verdict]()
    future.set_result(verdict)
    return future


def _is_to_be_repeated(future: Future[Verdict]) -> bool:
    if not future.done():
        return False
    return future.cancelled() or future.exception() is not None or future.result().outcome is Outcome.SANDBOX_ERROR
