"""Common part of the evaluator and the confirmer of a run: programs are judged until a cut, and verdicts kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Generic, TypeVar

from overnight.schemas.errors import Outage, ProviderError
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import Candidate
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.evaluate.sandbox import Sandbox
from overnight.tasks.program.error_lines import with_line_of_answer
from overnight.tasks.program.specification import Specification

Kept = TypeVar("Kept")
"""Kind of what is kept: a verdict, or a future of one."""

Stored = Mapping[tuple[int, str], Verdict]
"""Verdicts of one generation that outlived a process, by index and code hash of the candidate."""

Keep = Callable[[int, Candidate, Verdict], None]
"""Stores a verdict on a candidate of a generation, so that it outlives this process."""


class KeptVerdicts(Generic[Kept]):
    """Judges bodies, and keeps verdicts until their generation is committed, so that a further attempt repeats none.

    Verdicts that are the program's, and not the sandbox's fault, are also given to `keep`.
    """

    def __init__(self, sandbox: Sandbox, skeleton: Skeleton, keep: Keep = lambda *_: None) -> None:
        self._sandbox = sandbox
        self._skeleton = skeleton
        self._keep = keep
        self._verdicts: dict[tuple[int, str], Kept] = {}
        self._is_cut = False
        self._lock = threading.Lock()

    def cut(self) -> None:
        """Run nothing further; what has no verdict gets `STOPPED_BY_DEADLINE`."""
        self._is_cut = True

    def forget(self, generation: int) -> None:
        """Drop the verdicts of a generation that is over."""
        with self._lock:
            self._verdicts = {key: kept for key, kept in self._verdicts.items() if key[0] != generation}

    def _stored(self, generation: int, candidate: Candidate, verdict: Verdict) -> Verdict:
        """Return a verdict once it is stored, if it is the program's."""
        if verdict.outcome is not Outcome.SANDBOX_ERROR:
            self._keep(generation, candidate, verdict)
        return verdict

    def _judge(self, body: str, name: str = "", sandbox: Sandbox | None = None) -> Verdict:
        """Return the verdict on a body in a sandbox, by default its own.

        Raises:
            Outage, ProviderError: If it cannot be judged now.
        """
        if self._is_cut:
            return STOPPED_BY_DEADLINE
        try:
            verdict = (sandbox or self._sandbox).evaluate(replace(self._skeleton.program(body), name=name))
        except (Outage, ProviderError):
            if not self._is_cut:
                raise
            return STOPPED_BY_DEADLINE
        # A sandbox that is closed while a program runs gives this verdict, which says nothing of the program.
        return STOPPED_BY_DEADLINE if self._is_cut and verdict.outcome is Outcome.SANDBOX_ERROR else verdict

    def told(self, candidate: Candidate, verdict: Verdict) -> Verdict:
        """Return a verdict whose error names the line of the candidate's answer."""
        if not verdict.error or not isinstance(self._skeleton, Specification):
            return verdict
        answer = candidate.completion.text
        return replace(verdict, error=with_line_of_answer(verdict.error, self._skeleton, candidate.body, answer))
