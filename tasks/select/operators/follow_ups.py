"""Programs that are worked on once more: failures of good bases are repaired, the best programs have numbers tuned."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from random import Random

from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.operators import Operator
from overnight.schemas.program import Program

_LONGEST_CHAIN = 2
"""Repairs of one failure in a row."""

_WINDOW = 50
"""Prompts from which the share of failures is estimated."""

_BEST = 0.25
"""Share of scores among which a base must be for its failed children to be repaired."""


_BELIEF = 3.2
"""Answers that the belief in a kind of prompt counts as, before it has any."""

_BELIEVED = 0.25
"""Share of them that are believed to be good."""


def learned_share(share: float, good: int, answers: int) -> float:
    """Return the share of a kind of prompt, after so many answers of which so many were good.

    It falls where fewer than a quarter are: of a share of 0.2, after 30 answers none of which was good, 0.02 are left.
    """
    rate = (good + _BELIEF * _BELIEVED) / (answers + _BELIEF)
    return share * min(1.0, rate / _BELIEVED)


class Repairs:
    """Chooses failures to repair: about a share of the prompts are repairs, and fewer where repairs do not work."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._repaired = self._answers = 0
        self._chains: dict[str, int] = {}
        self._recent: deque[bool] = deque(maxlen=_WINDOW)

    def tell(self, record: PromptRecord) -> None:
        """Note which answers of a prompt failed."""
        is_repair = record.operator == Operator.REPAIR
        if is_repair:
            self._answers += len(record.answers)
            self._repaired += sum(one.score is not None for one in record.answers)
        for answer in filter(is_repairable, record.answers):
            # All answers to a prompt repair the same failure, so its count is read for each of them.
            self._chains[answer.program_id] = self._chains.get(answer.failed_id, 0) + 1 if is_repair else 0
        self._recent.append(any(map(self._may_be_repaired, record.answers)))

    def wanted(self, record: PromptRecord, base_rank: float, rng: Random) -> Feedback | None:
        """Return the answer of a prompt that the next prompt is to repair, if any.

        `base_rank` is the share of all scores that are higher than that of its base.
        """
        failed = next((one for one in reversed(record.answers) if self._may_be_repaired(one)), None)
        if failed is None or base_rank > _BEST:
            return None
        failing = sum(self._recent) / len(self._recent) if self._recent else 1.0
        share = learned_share(self._share, self._repaired, self._answers)
        return failed if rng.random() * max(share, failing) < share else None

    def _may_be_repaired(self, answer: Feedback) -> bool:
        return is_repairable(answer) and self._chains.get(answer.program_id, 0) < _LONGEST_CHAIN


def is_repairable(answer: Feedback) -> bool:
    """Return whether an answer is a program that failed by itself."""
    return bool(answer.body) and answer.outcome.facts.is_repairable


_NUMBER = re.compile(r"(?<![\w.])\d+\.?\d*(?:[eE][+-]?\d+)?")

_BEST_SHAPES = 20
"""Shapes of programs, the best of the run, that are tuned in turn."""


class TuningTargets:
    """Chooses programs to tune, within a share of all evaluations, which falls where tunings bring nothing.

    A tuning that is begun below it is finished.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._tuned: dict[str, float] = {}
        self._best: dict[str, Program] = {}
        self._spent = self._tunings = self._gained = 0
        self._answers = 0

    def tell(self, answers: int) -> None:
        self._answers += answers

    def note(self, program: Program) -> None:
        shape = shape_of(program.body)
        if shape not in self._best or program.score > self._best[shape].score:
            self._best[shape] = program
            ranked = sorted(self._best.items(), key=lambda one: one[1].score, reverse=True)
            self._best = dict(ranked[:_BEST_SHAPES])

    def tell_tuned(self, program: Program, result: Program | None, evaluations: int) -> None:
        """Count a tuning of a program, and what came of it."""
        known = [one for one in (program, result) if one is not None]
        best = max(one.score for one in known)
        self._tuned |= {shape_of(one.body): best for one in known}
        self._spent += evaluations
        self._tunings += 1
        self._gained += result is not None

    def next(self, best_of_niches: Iterable[Program]) -> Program | None:
        """Return the program to tune next, if any and the share allows it: the best one that was not tuned."""
        share = learned_share(self._share, self._gained, self._tunings)
        if not share or self._spent > share * (self._spent + self._answers):
            return None
        found = [one for one in (*self._best.values(), *best_of_niches) if self._is_wanted(one)]
        return max(found, key=lambda one: one.score, default=None)

    def _is_wanted(self, program: Program) -> bool:
        shape = shape_of(program.body)
        return shape != program.body and program.score > self._tuned.get(shape, float("-inf"))


def shape_of(body: str) -> str:
    """Return a body with a mark in place of each number."""
    return _NUMBER.sub("#", body)
