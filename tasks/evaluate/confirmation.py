"""Confirmation: a program that would be the best of its niche is run again, isolated, in a fresh container."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import replace
from typing import Literal

from schemas.errors import SandboxUnavailable
from schemas.job import Job
from schemas.outcome import CUT_SHORT, Outcome, Verdict
from schemas.program import Judged, reduce_scores
from schemas.settings import Reducer
from schemas.skeleton import Skeleton
from tasks.evaluate.fault_attribution import evaluate_with_retry
from tasks.evaluate.sandbox import Sandbox
from tasks.open_runs import OpenRuns

_PATIENCE = 2
"""Factor on the time limit of a confirmation, since calls between processes take time that is not the program's."""


def confirmation(job: Job, noise: float) -> Job:
    """Return the job of a confirmation: `job` with a longer time limit.

    Thresholds are lower by the noise. A program that was not below one and now is differs by more than the noise, so
    that skipping the other inputs changes nothing.
    """
    limits = job.limits
    more = {"wall_s": limits.wall_s * _PATIENCE, "cpu_s": limits.cpu_s and limits.cpu_s * _PATIENCE}
    thresholds = tuple(None if one is None else one - noise for one in job.thresholds)
    return replace(job, limits=limits.model_copy(update=more), thresholds=thresholds)


class Confirmer:
    """Confirms candidates of a run.

    Which candidates are confirmed depends only on their order and on the niches before them. Results are kept until the
    generation is committed, so that a further attempt does not confirm again.

    Args:
        sandbox: Sandbox that runs each program isolated, in a fresh container.
        skeleton: The fixed part of every program.
        which: `best`: candidates that would be the best of their niche; `always`: all that are scored.
        reducer: How the scores of the inputs become one.
        noise: Largest difference between two scores on an input.
        threads: Threads in which confirmations run.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        skeleton: Skeleton,
        *,
        which: Literal["best", "always"],
        reducer: Reducer,
        noise: float,
        threads: Executor,
    ) -> None:
        self._sandbox = sandbox
        self._skeleton = skeleton
        self._which = which
        self._reducer: Reducer = reducer
        self._noise = noise
        self._threads = threads
        self._begun: dict[tuple[int, str], Future[Verdict]] = {}
        self._lock = threading.Lock()
        self._is_cut = False

    def cut(self) -> None:
        """Run nothing further; candidates that would need a confirmation get no verdict."""
        self._is_cut = True

    def forget(self, is_over: Callable[[int], bool]) -> None:
        """Drop the results of generations that are over."""
        with self._lock:
            self._begun = {key: future for key, future in self._begun.items() if not is_over(key[0])}

    def concerns(self, judged: Sequence[Judged], best: Mapping[str, float]) -> bool:
        """Return whether there is anything to confirm; arguments as for `confirm`."""
        return any(self._is_due(one, best[one.candidate.prompt.niche]) for one in judged)

    def begin(self, judged: Sequence[Judged], best: Mapping[str, float], generation: int) -> None:
        """Start confirmations that `confirm` is likely to need, and return at once; arguments as for `confirm`."""
        for niche, group in _by_niche(judged).items():
            for claim in self._due(group, best[niche]):
                self._start(claim, generation)

    def confirm(self, judged: Sequence[Judged], best: Mapping[str, float], generation: int = 0) -> list[Judged]:
        """Confirm what needs it; return all candidates in order. Those that were not confirmed lose their score.

        Args:
            judged: Candidates of one generation, in order.
            best: Best score of each niche before them.
            generation: Number of the generation.

        Raises:
            SandboxUnavailable: If the engine is at fault and a candidate could not be run.
        """
        done = {one.id: one for one in judged}
        for niche, group in _by_niche(judged).items():
            bar, settled = best[niche], set[str]()
            while claims := [claim for claim in self._due(group, bar) if claim.id not in settled]:
                done[claims[0].id] = one = self._confirm(claims[0], generation)
                settled.add(one.id)
                bar = bar if one.score is None else max(bar, one.score)
                group = [done[each.id] for each in group]
        return [done[one.id] for one in judged]

    def _due(self, group: Sequence[Judged], best: float) -> list[Judged]:
        """Return the candidates of a niche that have to be confirmed next: the highest claim, of equal ones the first.

        Where all are confirmed, that is all.
        """
        claims = [one for one in group if self._is_due(one, best)]
        if self._which == "always" or not claims:
            return claims
        return [max(claims, key=lambda one: one.score or 0.0)]

    def _is_due(self, one: Judged, best: float) -> bool:
        return one.score is not None and (self._which == "always" or one.score > best)

    def _confirm(self, claim: Judged, generation: int) -> Judged:
        return settle(claim, self._run_again(claim, generation), self._reducer, self._noise)

    def _start(self, claim: Judged, generation: int) -> Future[Verdict]:
        key = generation, claim.candidate.code_hash
        with self._lock:
            if key not in self._begun:
                self._begun[key] = self._threads.submit(self._evaluate, claim)
            return self._begun[key]

    def _run_again(self, claim: Judged, generation: int) -> Verdict:
        try:
            return self._start(claim, generation).result()
        except (SandboxUnavailable, CancelledError):
            with self._lock:
                self._begun.pop((generation, claim.candidate.code_hash), None)
            if not self._is_cut:
                raise
        return CUT_SHORT

    def _evaluate(self, claim: Judged) -> Verdict:
        if self._is_cut:
            return CUT_SHORT
        skeleton = self._skeleton
        return evaluate_with_retry(self._sandbox, skeleton.program(claim.candidate.body), honest=skeleton.start_program)


confirmers: OpenRuns[Confirmer | None] = OpenRuns()
"""Confirmers of the runs that are open in this process; `None` where nothing is confirmed."""


def _by_niche(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    niches = sorted({one.candidate.prompt.niche for one in judged})
    return {niche: [one for one in judged if one.candidate.prompt.niche == niche] for niche in niches}


def settle(claim: Judged, again: Verdict, reducer: Reducer, noise: float) -> Judged:
    """Return a candidate after its confirmation.

    It is scored, with the lower score on each input; or unconfirmed; or a sandbox error where it could not be run.

    Args:
        claim: The candidate with the score of its evaluation.
        again: Verdict of the confirmation.
        reducer: How the scores of the inputs become one.
        noise: Largest difference between two scores on an input.
    """
    said = disagreement(claim.verdict, again, noise)
    try:
        found = reduce_scores(again.scores, reducer) if again.is_scored else None
        if not said:
            scores = tuple(map(min, claim.verdict.scores, again.scores))
            verdict = replace(claim.verdict, scores=scores)
            return replace(claim, verdict=verdict, score=reduce_scores(scores, reducer), confirmed_score=found)
    except OverflowError:
        found, said = None, f"the {reducer} of its scores is too large for a float"
    scores = f"scored {claim.score!r}" + ("" if found is None else f", then {found!r}")
    error = f"{scores}: {said}"[:_ERROR]
    outcome = Outcome.SANDBOX_ERROR if again.outcome is Outcome.SANDBOX_ERROR else Outcome.UNCONFIRMED
    verdict = replace(claim.verdict, outcome=outcome, scores=(), error=error)
    return replace(claim, verdict=verdict, score=None, confirmed_score=found)


def disagreement(first: Verdict, again: Verdict, noise: float) -> str:
    """Return in words what differs between an inline and an isolated evaluation; empty if nothing does."""
    if not again.is_scored:
        return f"run again, in a fresh container, it is {again.outcome.value}: {again.error}"
    differ = [
        f"{a!r} and {b!r} on input {place}"
        for place, (a, b) in enumerate(zip(first.scores, again.scores, strict=True), start=1)
        if abs(a - b) > noise
    ]
    if not differ:
        return ""
    more = f" and {len(differ) - _NAMED} more" if len(differ) > _NAMED else ""
    return f"run again, in a fresh container, it scores otherwise: {', '.join(differ[:_NAMED])}{more}"


_NAMED = 3
"""Largest number of inputs named where scores differ."""

_ERROR = 2000
"""Longest error text that is kept, characters."""
