"""Trials of agents' programs on inputs that are drawn for them, in a sandbox of their own."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from overnight.flows.start.generated_inputs import job_for_agents, open_generator
from overnight.flows.start.sandboxes import open_job
from overnight.schemas.errors import SpecificationError
from overnight.schemas.generation import RunRecord
from overnight.schemas.outcome import Verdict
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.pool import SandboxPool


class DrawnTrials:
    """Scores programs of agents one after the other, in a thread; the first one has the inputs drawn."""

    def __init__(self, run: RunRecord, evaluator: Evaluator) -> None:
        self._run, self._evaluator = run, evaluator
        self._thread = ThreadPoolExecutor(1, "overnight-try")
        self._opened = contextlib.ExitStack()
        self._is_closing = threading.Event()
        self._pool: SandboxPool | None = None
        self._fault: SpecificationError | None = None

    def submit(self, body: str) -> Future[Verdict]:
        """Begin to score a body; return at once.

        Returns:
            A future of its verdict, cancelled if this is closed before. It raises SpecificationError if no inputs can
            be drawn, and SandboxUnavailable if the engine is at fault.
        """
        try:
            return self._thread.submit(self._score, body)
        except RuntimeError:  # it is closed
            closed: Future[Verdict] = Future()
            closed.cancel()
            return closed

    def _score(self, body: str) -> Verdict:
        if self._fault is not None:
            raise self._fault
        try:
            self._pool = self._pool or self._open()
        except SpecificationError as fault:
            self._fault = fault
            raise
        if self._is_closing.is_set():
            raise CancelledError
        return self._evaluator.submit_trial(body, self._pool).result()

    def _open(self) -> SandboxPool:
        run, generating = self._run, contextlib.ExitStack()
        self._opened.callback(generating.close)  # so that closing ends a draw that is under way
        with generating:
            draw = generating.enter_context(open_generator(run.problem, run.run_id))
            job = job_for_agents(run.problem, draw, seed=run.seed)
        return self._opened.enter_context(open_job(run.problem, job, run.run_id, slots=1, ask=None))

    def close(self) -> None:
        """End what is under way, and remove the sandboxes; calling it again does nothing."""
        self._is_closing.set()
        self._opened.close()
        self._thread.shutdown(cancel_futures=True)
        self._opened.close()  # what was started meanwhile
