"""Evaluation of candidates in the sandbox: each distinct program once, exactly one verdict for each candidate."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor

from schemas.errors import SandboxUnavailable
from schemas.outcome import CUT_SHORT, JUDGED_BEFORE, Outcome, Verdict
from schemas.program import Candidate
from schemas.skeleton import Skeleton
from tasks.evaluate.fault_attribution import evaluate_with_retry
from tasks.evaluate.sandbox import Sandbox

Report = Callable[[Verdict], None]


class Evaluator:
    """Evaluates the candidates of one generation, batch by batch, from several threads.

    Verdicts are kept until the generation is committed, so that a further attempt does not evaluate again.

    Args:
        sandbox: The sandbox that runs programs.
        specification: The fixed part of every program.
        known: Code hashes of bodies evaluated in earlier generations, which are duplicates; `None` where duplicates
            are evaluated again.
        report: Called once for each verdict, from any thread.
        threads: One thread for each slot, shared by all generations, so that an earlier one's candidates run first.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        specification: Skeleton,
        known: Collection[str] | None,
        report: Report,
        threads: Executor,
    ) -> None:
        self._sandbox = sandbox
        self._specification = specification
        self._known = known
        self._report = report
        self._threads = threads
        self._verdicts: dict[str, Verdict] = {}
        self._claimed: set[str] = set()
        self._claiming = threading.Lock()
        self._stopped = threading.Event()
        self._is_cut = False
        self._left_out: Collection[int] = ()

    def begin_attempt(self) -> None:
        """Prepare a further attempt: keep all verdicts except those of the sandbox's own failures."""
        self._stopped.clear()
        self._verdicts = {k: v for k, v in self._verdicts.items() if v.outcome is not Outcome.SANDBOX_ERROR}
        self._claimed.clear()

    def stop(self) -> None:
        """Run no further candidate; waiting ones become `sandbox_error`."""
        self._stopped.set()

    def leave_out(self, indices: Collection[int]) -> None:
        """Do not run these candidates, by index, since a record says that a deadline cut them short."""
        self._left_out = indices

    def cut(self) -> None:
        """Run nothing further and do not wait for running candidates, whose sandbox is being closed."""
        self._is_cut = True
        self.stop()

    def judge(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, Verdict | None]]:
        """Evaluate candidates; `None` stands where an equal candidate of the generation is evaluated instead.

        Raises:
            SandboxUnavailable: If the engine is at fault; verdicts so far are kept for a further attempt.
        """
        return list(zip(candidates, self._threads.map(self._judge, candidates), strict=True))

    def _judge(self, candidate: Candidate) -> Verdict | None:
        verdict = self._verdict(candidate)
        if verdict is not None:
            self._report(verdict)
        return verdict

    def _verdict(self, candidate: Candidate) -> Verdict | None:
        if candidate.verdict is not None:
            return candidate.verdict
        key = candidate.code_hash
        if self._known is None:
            key = f"{candidate.index}/{key}"
        elif key in self._known:
            return JUDGED_BEFORE
        elif not self._claim(key):
            return None
        if key not in self._verdicts:
            self._verdicts[key] = self._run(candidate)
        return self._verdicts[key]

    def _run(self, candidate: Candidate) -> Verdict:
        if self._stopped.is_set():
            return CUT_SHORT if self._is_cut else Verdict(Outcome.SANDBOX_ERROR, error="the evaluation was stopped")
        if candidate.index in self._left_out:
            return CUT_SHORT
        skeleton = self._specification
        try:
            return evaluate_with_retry(self._sandbox, skeleton.program(candidate.body), honest=skeleton.start_program)
        except SandboxUnavailable:
            if not self._is_cut:
                raise
        return CUT_SHORT

    def _claim(self, key: str) -> bool:
        with self._claiming:
            if key in self._claimed:
                return False
            self._claimed.add(key)
            return True
