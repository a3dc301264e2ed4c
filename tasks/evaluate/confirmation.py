"""Confirmation: a program that would be the best of its niche is run again, isolated, in a fresh container."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

from overnight.schemas.job import Job
from overnight.schemas.objectives import NO_OBJECTIVES, Objectives
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import Judged
from overnight.schemas.scores import reduce_scores, reduced_metrics
from overnight.schemas.settings import Reducer, Settings
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.evaluate.kept_verdicts import Keep, KeptVerdicts, Stored
from overnight.tasks.evaluate.sandbox import Sandbox

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


@dataclass(frozen=True)
class ConfirmationRules:
    """Which candidates are confirmed, and what becomes of them.

    Attributes:
        which: `best`: candidates that would be the best of their niche; `always`: all that are scored; `never`: none.
        reducer: How the scores of the inputs become one.
        noise: Largest difference between two scores on an input.
        objectives: Limits on metrics, which the metrics of the confirmation have to meet, too.
    """

    which: Literal["best", "always", "never"]
    reducer: Reducer
    noise: float
    objectives: Objectives = NO_OBJECTIVES

    @classmethod
    def of(cls, settings: Settings) -> ConfirmationRules:
        """Return the rules of a problem's settings."""
        return cls(settings.confirmations, settings.reducer, settings.noise, settings.objectives)

    def is_due(self, one: Judged, bests: Mapping[str, float]) -> bool:
        """Return whether a candidate needs a confirmation, given the best score of each niche."""
        if self.which == "never" or one.score is None:
            return False
        return self.which == "always" or one.score > bests[one.candidate.prompt.niche]

    def confirmed(
        self, judged: Sequence[Judged], bests: Mapping[str, float], verdicts: Mapping[str, Verdict]
    ) -> tuple[list[Judged], tuple[Judged, ...]]:
        """Return candidates after their confirmations, in order, and those that need one that is missing.

        Of the candidates of a niche, the highest comes first, until one stands. Those that were not confirmed lose
        their score.

        Args:
            judged: Candidates of one prompt.
            bests: Best score of each niche before them.
            verdicts: Verdicts of confirmations, by id of the program.
        """
        done, settled, bests = {one.id: one for one in judged}, set[str](), dict(bests)
        while due := [one for one in done.values() if one.id not in settled and self.is_due(one, bests)]:
            claim = max(due, key=lambda one: one.score or 0.0)
            if claim.id not in verdicts:
                missing = due if self.which == "always" else [claim]
                return list(judged), tuple(one for one in missing if one.id not in verdicts)
            done[claim.id] = one = self.settled(claim, verdicts[claim.id])
            settled.add(one.id)
            if one.score is not None:
                niche = one.candidate.prompt.niche
                bests[niche] = max(bests[niche], one.score)
        return [done[one.id] for one in judged], ()

    def settled(self, claim: Judged, again: Verdict) -> Judged:
        """Return a candidate after its confirmation.

        It is scored, with the lower score on each input; or unconfirmed; or a sandbox error where it could not be run.
        Where all programs are confirmed, its metrics and notes are those of the confirmation.

        Args:
            claim: The candidate with the score of its evaluation.
            again: Verdict of the confirmation.
        """
        said = disagreement(claim.verdict, again, self.noise)
        metrics = reduced_metrics(again.metrics, self.reducer)
        try:
            found = reduce_scores(again.scores, self.reducer) if again.is_scored else None
            if not said and found is not None:
                said = self.objectives.missing(metrics) or self.objectives.broken(found, metrics)
            if not said:
                scores = tuple(map(min, claim.verdict.scores, again.scores))
                verdict, counted = replace(claim.verdict, scores=scores), claim.metrics
                if self.which == "always":
                    verdict, counted = replace(verdict, metrics=again.metrics, notes=again.notes), metrics
                score = reduce_scores(scores, self.reducer)
                settled = replace(claim, verdict=verdict, score=score, metrics=counted)
                return replace(settled, confirmed_score=found, confirmed_metrics=metrics)
        except OverflowError:
            found, said = None, f"the {self.reducer} of its scores is too large for a float"
        scores = f"scored {claim.score!r}" + ("" if found is None else f", then {found!r}")
        error = f"{scores}: {said}"[:_ERROR]
        outcome = Outcome.SANDBOX_ERROR if again.outcome is Outcome.SANDBOX_ERROR else Outcome.UNCONFIRMED
        verdict = replace(claim.verdict, outcome=outcome, scores=(), error=error)
        return replace(claim, verdict=verdict, score=None, confirmed_score=found)


class Confirmer(KeptVerdicts[Verdict]):
    """Runs candidates again, isolated, each in a fresh container.

    Args:
        sandbox: Sandbox that runs each program isolated, in a fresh container.
        skeleton: The fixed part of every program.
        reserve_slot: Keeps a slot free while it runs one.
        keep: Stores verdicts.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        skeleton: Skeleton,
        reserve_slot: Callable[[], AbstractContextManager[None]] = nullcontext,
        keep: Keep = lambda *_: None,
    ) -> None:
        super().__init__(sandbox, skeleton, keep)
        self._reserve_slot = reserve_slot

    def begin_attempt(self, generation: int, stored: Stored) -> None:
        """Take the verdicts on a generation's claims that earlier processes stored."""
        with self._lock:
            for (_, code_hash), verdict in stored.items():
                self._verdicts.setdefault((generation, code_hash), verdict)

    def run_again(self, claim: Judged, generation: int) -> Verdict:
        """Return the verdict of a confirmation; `STOPPED_BY_DEADLINE` once the night's end has come.

        Raises:
            SandboxUnavailable: If the engine is at fault.
        """
        code_hash = claim.candidate.code_hash
        if (kept := self._verdicts.get((generation, code_hash))) is not None:
            return kept
        with self._reserve_slot():
            verdict = self.told(claim.candidate, self._judge(claim.candidate.body, code_hash))
        if verdict != STOPPED_BY_DEADLINE:
            with self._lock:
                self._verdicts[generation, code_hash] = verdict
        return self._stored(generation, claim.candidate, verdict)


def disagreement(first: Verdict, again: Verdict, noise: float) -> str:
    """Return in words what differs between an inline and an isolated evaluation; empty if nothing does."""
    if not again.is_scored:
        return f"{_AGAIN} is {again.outcome.value}: {again.error}"
    differ = [
        f"{a!r} and {b!r} on input {place}"
        for place, (a, b) in enumerate(zip(first.scores, again.scores, strict=True), start=1)
        if abs(a - b) > noise
    ]
    if not differ:
        return ""
    more = f" and {len(differ) - _NAMED} more" if len(differ) > _NAMED else ""
    return f"{_AGAIN} scores otherwise: {', '.join(differ[:_NAMED])}{more}"


def is_decided_by_time(verdict: Verdict) -> bool:
    """Return whether a limit of seconds or a fault of the sandbox decided a verdict, or the confirmation of a claim."""
    found = re.search(rf"{_AGAIN} is (\w+): ", verdict.error) if verdict.outcome is Outcome.UNCONFIRMED else None
    return (found[1] if found else verdict.outcome) in (Outcome.TIMED_OUT, Outcome.SANDBOX_ERROR)


_AGAIN = "run again, in a fresh container, it"


_NAMED = 3
"""Largest number of inputs named where scores differ."""

_ERROR = 2000
"""Longest error text that is kept, characters."""
