"""Confirmation: a program that would be the best of its niche is run again, isolated, in a fresh container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    """Confirms candidates of one generation.

    Which candidates are confirmed depends only on their order and on the niches before them. Results are kept until the
    generation is committed, so that a further attempt does not confirm again.

    Args:
        sandbox: Sandbox that runs each program isolated, in a fresh container.
        specification: The fixed part of every program.
        which: `best`: candidates that would be the best of their niche; `always`: all that are scored.
        reducer: How the scores of the inputs become one.
        noise: Largest difference between two scores on an input.
        workers: Number of niches confirmed at the same time.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        specification: Skeleton,
        *,
        which: Literal["best", "always"],
        reducer: Reducer,
        noise: float,
        workers: int,
    ) -> None:
        self._sandbox = sandbox
        self._specification = specification
        self._which = which
        self._reducer: Reducer = reducer
        self._noise = noise
        self._workers = workers
        self._again: dict[str, Verdict] = {}
        self._is_cut = False

    def cut(self) -> None:
        """Run nothing further; candidates that would need a confirmation get no verdict."""
        self._is_cut = True

    def concerns(self, judged: Sequence[Judged], best: Mapping[str, float]) -> bool:
        """Return whether there is anything to confirm; arguments as for `confirm`."""
        return any(self._is_due(one, best[one.candidate.prompt.niche]) for one in judged)

    def confirm(self, judged: Sequence[Judged], best: Mapping[str, float]) -> list[Judged]:
        """Confirm what needs it; return all candidates in order. Those that were not confirmed lose their score.

        Args:
            judged: Candidates of the generation, in order.
            best: Best score of each niche before the generation.

        Raises:
            SandboxUnavailable: If the engine is at fault and a candidate could not be run.
        """
        niches = sorted({one.candidate.prompt.niche for one in judged})
        groups = [[one for one in judged if one.candidate.prompt.niche == niche] for niche in niches]
        with ThreadPoolExecutor(self._workers) as threads:
            done = list(threads.map(self._confirm_niche, groups, [best[niche] for niche in niches]))
        by_id = {one.id: one for group in done for one in group}
        return [by_id[one.id] for one in judged]

    def _confirm_niche(self, judged: Sequence[Judged], best: float) -> list[Judged]:
        confirmed = []
        for claim in judged:
            one = self._confirm(claim) if self._is_due(claim, best) else claim
            if one.score is not None:
                best = max(best, one.score)
            confirmed.append(one)
        return confirmed

    def _is_due(self, one: Judged, best: float) -> bool:
        return one.score is not None and (self._which == "always" or one.score > best)

    def _confirm(self, claim: Judged) -> Judged:
        return settle(claim, self._run_again(claim), self._reducer, self._noise)

    def _run_again(self, claim: Judged) -> Verdict:
        key = claim.candidate.code_hash
        if key not in self._again:
            self._again[key] = CUT_SHORT if self._is_cut else self._evaluate(claim)
        return self._again[key]

    def _evaluate(self, claim: Judged) -> Verdict:
        skeleton = self._specification
        try:
            source = skeleton.program(claim.candidate.body)
            return evaluate_with_retry(self._sandbox, source, honest=skeleton.start_program)
        except SandboxUnavailable:
            if not self._is_cut:
                raise
        return CUT_SHORT


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


def disagreement(first: Verdict, split: Verdict, noise: float) -> str:
    """Return in words what differs between an inline and an isolated evaluation; empty if nothing does."""
    if not split.is_scored:
        return f"run again, in a fresh container, it is {split.outcome.value}: {split.error}"
    differ = [
        f"{a!r} and {b!r} on input {place}"
        for place, (a, b) in enumerate(zip(first.scores, split.scores, strict=True), start=1)
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
