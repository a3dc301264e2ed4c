"""The limits of one night: its counts so far, and what its stop conditions allow."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from overnight.flows.formatting import scores_beside
from overnight.flows.night.events import Clock
from overnight.flows.night.search_state import SearchState
from overnight.flows.night.stop_conditions import StopConditions, Tally, reason_to_stop
from overnight.schemas.errors import ImpossibleScore
from overnight.schemas.generation import GenerationRecord, StopReason
from overnight.schemas.objectives import SCORE, Comparison, are_met
from overnight.schemas.objectives import conditions as parse_conditions
from overnight.schemas.program import NO_MODELS, Program
from overnight.tasks.select.front import nondominated

_RECENT = 5
"""Latest generations from whose length is judged whether another may begin before the deadline."""


@dataclass(frozen=True)
class NightPlan:
    """Parameters that are fixed when a night begins.

    Attributes:
        retried: Numbers of failed generations that are tried again in place of new ones; `None` in other nights.
        samples_if_slow: Number of samples in flight once answers take minutes; `None` where that changes nothing.
        after_empty_night: Whether the night before ended at its deadline without a generation.
        sessions: Models of agents beside prompts, each with the number of sessions that may be under way.
        history_flag: `--history` flag of commands that are named.
    """

    number: int
    conditions: StopConditions
    samples_in_flight: int
    most_confirmations: int = 1
    retried: tuple[int, ...] | None = None
    samples_if_slow: int | None = None
    after_empty_night: bool = False
    sessions: tuple[tuple[str, int], ...] = ()
    history_flag: str = ""


def unknown_metrics(target: float | str | None, programs: Iterable[Program]) -> list[str]:
    """Return the metrics in the conditions of a target that no program has."""
    wanted = parse_conditions(target) if isinstance(target, str) else {}
    known = {SCORE}.union(*(one.metrics for one in programs))
    return [name for name in wanted if name not in known]


class NightLimits:
    """Counts what a night has done since its start, and compares it with its stop conditions."""

    def __init__(self, state: SearchState, conditions: StopConditions, since: datetime) -> None:
        self._state = state
        self._conditions = conditions
        self._since = since
        self._counts: Counter[str] = Counter()
        self._first = state.generations
        self._last_best = state.generations
        self._durations: deque[float] = deque(maxlen=_RECENT)
        target = conditions.target
        self._wanted = parse_conditions(target) if isinstance(target, str) else None
        self._looked_at = (0, False)

    def count(self, record: GenerationRecord, seconds: float) -> None:
        """Count a generation that is settled, and the seconds that it took, before the state counts it."""
        self._counts.update(_counts_of(record))
        if not record.agent:  # whose answer was there before its turn
            self._durations.append(max(0.0, seconds))
        if self._is_gain(record):
            self._last_best = max(record.number, self._state.generations)

    def _is_gain(self, record: GenerationRecord) -> bool:
        """Return whether a generation has a new best or, where the front is searched, a new member of it."""
        objectives = self._state.run.problem.settings.objectives
        if not objectives.searches_front:
            return record.best.id != self._state.best.id
        new = [one.program() for one in record.judged if one.score is not None]
        programs = [*self._state.programs.values(), *new]
        stays = nondominated([objectives.goals(one.score, one.metrics) for one in programs])
        return any(stays[len(stays) - len(new) :])

    def take_back(self, record: GenerationRecord) -> None:
        """Take back the count of a generation whose commit failed."""
        self._counts.subtract(_counts_of(record))
        self._last_best = min(self._last_best, self._state.generations)

    def tally(self, clock: Clock) -> Tally:
        return Tally(
            since=self._since,
            now=clock.now,
            best=self._state.best.score,
            generations=self._generations_since(self._first),
            **self._counts,
            tokens=clock.tokens,
            cost_usd=clock.night_usd,
            total_usd=clock.total_usd,
            period_usd=clock.period_usd,
            generations_since_best=self._generations_since(self._last_best),
            usual_generation_s=median(self._durations) if self._durations else 0.0,
            is_exhausted=clock.is_exhausted,
            interrupted=clock.interrupted,
            meets_target=None if self._wanted is None else self._is_wanted_met(self._wanted),
        )

    def _is_wanted_met(self, wanted: Mapping[str, Comparison]) -> bool:
        """Return whether any program meets conditions; all are looked at again only once there are others.

        Where only bests are confirmed, the best one has to meet them: others may claim what is not so.
        """
        if self._state.run.problem.settings.confirmations == "best":
            return are_met(wanted, self._state.best.score, self._state.best.metrics)
        programs = self._state.programs
        if self._looked_at[0] != len(programs):
            met = any(are_met(wanted, one.score, one.metrics) for one in programs.values())
            self._looked_at = len(programs), met
        return self._looked_at[1]

    def is_target_claimed(self) -> bool:
        """Return whether the best of a niche has what ends the night, though it may not be confirmed yet."""
        target, bests = self._conditions.target, self._state.niche_bests.values()
        if self._wanted is not None:
            return any(are_met(self._wanted, one.score, one.metrics) for one in bests)
        return isinstance(target, float) and any(one.score >= target for one in bests)

    def reason(self, clock: Clock) -> StopReason | None:
        return reason_to_stop(self._conditions, self.tally(clock))

    def impossible_score(self, flag: str) -> ImpossibleScore | None:
        """Return an error if the best score exceeds a proven optimum, which would show a bug in the checker."""
        best, known = self._state.best, self._state.run.problem.settings.known
        if not known.is_beaten_by(best.score):
            return None
        score, proven = scores_beside(best.score, known.best)
        return ImpossibleScore(
            f"program {best.id} scores {score}, but {proven} is proven to be the best "
            f"({known.label}; {known.source}): what checks it has a bug",
            remedy=f"Mend the check, then start a new run. Look at it: overnight show {best.id}{flag}",
        )

    def allow(self, number: int, clock: Clock) -> bool:
        """Return whether a later generation may begin, if those before it end as usual."""
        ahead = self._prompts_ahead(number)
        tally = self.tally(clock).with_ahead(ahead / self._prompts, ahead * self._per_prompt)
        return reason_to_stop(self._conditions, tally) is None

    def samples_left(self, number: int, of_sessions: int = 0) -> int | None:
        """Return how many samples a generation may ask for, if those before it ask for all; `None` without a limit.

        Sessions that are put off may bring `of_sessions` yet. A number that is one of them has its own samples when it
        is tried again after the last prompts, since its prompt is counted already.
        """
        if self._state.run.problem.settings.sampling.batch_api:
            return None
        left = []
        if (most := self._conditions.max_samples) is not None:
            left.append(most - self._counts["samples"] - of_sessions)
        if (most := self._conditions.generations) is not None:
            prompts = most * self._prompts - self._prompts_since(self._first)
            is_put_off = number in self._state.put_off
            left.append((prompts + 1) * self._per_prompt if is_put_off else prompts * self._per_prompt - of_sessions)
        return max(0, min(left) - self._prompts_ahead(number) * self._per_prompt) if left else None

    @property
    def _prompts(self) -> int:
        return self._state.run.problem.settings.search.prompts

    @property
    def _per_prompt(self) -> int:
        return self._state.run.problem.settings.candidates_per_prompt

    def _prompts_since(self, generation: int) -> int:
        until = self._state.planner.prompts_until
        return until(self._state.generations) - until(generation)

    def _generations_since(self, generation: int) -> float:
        """Return how many generations of full length ended since one: those that ended early count for less."""
        return self._prompts_since(generation) / self._prompts

    def _prompts_ahead(self, number: int) -> int:
        """Return the number of prompts of the generations under way before one."""
        return max(0, -self._prompts_since(number - 1))


def _counts_of(record: GenerationRecord) -> dict[str, int]:
    """Return what a generation adds to the counts of a night, by their names in `Tally`."""
    return {"samples": sum(one.candidate.completion.model not in NO_MODELS for one in record.judged)}
