"""Which programs have their numbers tuned: the best ones, each shape again only if a model finds better numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from schemas.program import Program

_NUMBER = re.compile(r"(?<![\w.])\d+\.?\d*(?:[eE][+-]?\d+)?")

_BEST_SHAPES = 20
"""Shapes of programs, the best of the run, that are tuned in turn."""


class TuningTargets:
    """Chooses programs to tune, within a share of all evaluations.

    Args:
        share: Largest share of the evaluations of a run that tuning takes. A tuning that is begun below it is finished.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._tuned: dict[str, float] = {}
        self._best: dict[str, Program] = {}
        self._spent = 0
        self._answers = 0

    def tell(self, answers: int) -> None:
        """Count evaluated answers of models."""
        self._answers += answers

    def note(self, program: Program) -> None:
        """Take notice of a program of the run."""
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

    def next(self, best_of_niches: Iterable[Program]) -> Program | None:
        """Return the program to tune next, if any and the share allows it: the best one that was not tuned.

        Args:
            best_of_niches: Best program of each niche.
        """
        if not self._share or self._spent > self._share * (self._spent + self._answers):
            return None
        found = [one for one in (*self._best.values(), *best_of_niches) if self._is_wanted(one)]
        return max(found, key=lambda one: one.score, default=None)

    def _is_wanted(self, program: Program) -> bool:
        shape = shape_of(program.body)
        return shape != program.body and program.score > self._tuned.get(shape, float("-inf"))


def shape_of(body: str) -> str:
    """Return a body with a mark in place of each number."""
    return _NUMBER.sub("#", body)
