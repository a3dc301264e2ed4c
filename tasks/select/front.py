"""The front of a run: the programs that no other one dominates, and prompts that build on them.

A program dominates another if it is as good in the score and every objective, and better in one. The front is a
function of what the algorithm was told, in order, so that it is rebuilt from the history as the algorithm is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

from overnight.schemas.algorithm import Algorithm, Change, Join, Niche, Plan, PromptResult, Turn
from overnight.schemas.objectives import Objectives
from overnight.schemas.program import Program

Goals = tuple[float, ...]

_GAPS = _KEPT_SCORES = 0.25
"""Shares of the prompts on the front that ask for its widest gap, and for no more than the score of their base."""


def nondominated(goals: Sequence[Goals]) -> list[bool]:
    """Return which points no other dominates, where higher is better; of equal points, the first."""
    import moocore

    return moocore.is_nondominated(list(goals), maximise=True, keep_weakly=False).tolist()


def hypervolume(goals: Sequence[Goals], reference: Goals) -> float:
    """Return the volume that points dominate, down to a reference point; 0 for none above it."""
    import moocore

    above = [one for one in goals if all(mine > least for mine, least in zip(one, reference, strict=True))]
    return float(moocore.hypervolume(above, ref=reference, maximise=True)) if above else 0.0


def best_by_weights(goals: Sequence[Goals], weights: Sequence[float]) -> int:
    """Return the index of the point with the least weighted distance (Chebyshev) to the best of each objective.

    Distances are in units of the objective's range over the points; of equal points, the one that is nearer in sum.
    """
    ranges = [(max(values), max(values) - min(values)) for values in zip(*goals, strict=True)]

    def distance(place: int) -> tuple[float, float]:
        far = [
            weight * ((top - value) / width if width else 0.0)
            for weight, value, (top, width) in zip(weights, goals[place], ranges, strict=True)
        ]
        return max(far), math.fsum(far)

    return min(range(len(goals)), key=distance)


def _room(one: Goals, other: Goals) -> float:
    """Return the area between two points of a front with two objectives, in which one lies that neither dominates."""
    return math.prod(abs(mine - theirs) for mine, theirs in zip(one, other, strict=True))


class FrontSearch:
    """An algorithm, a share of whose prompts builds on a program of the front in place of its own choice.

    Attributes:
        front: The programs that no other dominates, in the order in which they came.
    """

    def __init__(self, algorithm: Algorithm, objectives: Objectives, start: Program, seed: int) -> None:
        self._algorithm, self._objectives, self._seed = algorithm, objectives, seed
        self.front = [start]

    @property
    def niches(self) -> Mapping[str, Niche]:
        return self._algorithm.niches

    @property
    def best(self) -> Program:
        return self._algorithm.best

    def ask(self, turn: Turn) -> Plan:
        """Plan one prompt; on a program of the front, if it is one of the front's share."""
        plan = self._algorithm.ask(turn)
        rng = Random(f"{self._seed}/{turn.generation}/{turn.index}/front")
        if rng.random() < self._objectives.share:
            base, aim = self._base(rng), rng.random()
            if gap := self._widest_gap() if aim < _GAPS else None:
                base = gap[rng.randrange(2)]
            plan = replace(plan, gap=gap, keeps_score=aim > 1 - _KEPT_SCORES)
            others = [one for one in plan.shown if one.score <= base.score and one.id != base.id]
            plan = replace(plan, shown=(*others[1 - len(plan.shown) :], base) if len(plan.shown) > 1 else (base,))
        plan = replace(plan, shown=(*plan.shown[:-1], self._better_of_equals(plan.base)))
        return replace(plan, rivals=self._rivals(plan.base))

    def _better_of_equals(self, base: Program) -> Program:
        """Return the program of the front that has a base's score and beats it in another objective, or the base."""
        own = self._objectives.goals(base.score, base.metrics)
        both = zip(self.front, self._goals, strict=True)
        better = (one for one, goals in both if goals[0] == own[0] and nondominated([goals, own]) == [True, False])
        return next(better, base)

    def _widest_gap(self) -> tuple[Program, Program] | None:
        """Return the neighbours of the front with most room between them, in units of the objectives' ranges.

        With more than two objectives, or one program, there are no neighbours.
        """
        if len(self.front) < 2 or len(self._goals[0]) != 2:
            return None
        ordered = sorted(zip(self._goals, self.front, strict=True), key=lambda one: one[0])
        # The ranges are the same for all, so the room between two is compared without them.
        lower, upper = max(pairwise(ordered), key=lambda pair: _room(pair[0][0], pair[1][0]))
        return lower[1], upper[1]

    def _base(self, rng: Random) -> Program:
        """Return the program that the objectives choose by weights that are drawn."""
        goals = self._goals
        drawn = [rng.expovariate(1.0) for _ in goals[0]]  # in proportion, they are spread evenly over all weights
        return self.front[best_by_weights(goals, drawn)]

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:
        changes = self._algorithm.tell(generation, results, reset=reset)
        self._add(changes, {child.id: child for result in results for child in result.children})
        return changes

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        self._algorithm.replay(changes, programs)
        self._add(changes, programs)

    def _add(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        """Let the programs that joined a niche join the front, and drop those that are dominated now."""
        joined = dict.fromkeys(change.program_id for change in changes if isinstance(change, Join))
        known = {program.id for program in self.front}
        if new := [programs[name] for name in joined if name not in known]:
            self.front += new
            stays = nondominated(self._goals)
            self.front = [program for program, is_kept in zip(self.front, stays, strict=True) if is_kept]

    @property
    def _goals(self) -> list[Goals]:
        return [self._objectives.goals(program.score, program.metrics) for program in self.front]

    def _rivals(self, base: Program) -> tuple[Program, ...]:
        """Return, for each objective, the program of the front that is next better than a base in it."""
        own, found = self._objectives.goals(base.score, base.metrics), dict[str, Program]()
        goals = self._goals
        for place, value in enumerate(own):
            better = [index for index, one in enumerate(goals) if one[place] > value]
            if better:
                rival = self.front[min(better, key=lambda index: goals[index][place])]
                found.setdefault(rival.id, rival)
        return tuple(found.values())
