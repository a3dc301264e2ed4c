"""Programs that a search was told of: which are best, what each came from, and how far behind it is."""

from __future__ import annotations

from collections.abc import Iterator

from overnight.schemas.algorithm import Plan
from overnight.schemas.objectives import Objectives
from overnight.schemas.program import NO_SCORE, Program
from overnight.schemas.scores import are_level
from overnight.tasks.select.operators.follow_ups import shape_of
from overnight.tasks.select.operators.operator_choice import Gains, partner_of

_PARTNERS = 20
"""Best programs of the run among which the partner of a base is."""

_BEHIND = 0.5
"""Share of the different scores that are better from which on a program is far behind the best."""


class KnownPrograms:
    """All scored programs of a run, as far as a search was told of them.

    Args:
        start: The start program.
        noise: Largest difference between two scores on an input.
        objectives: What counts beside the score.

    Attributes:
        gains: Measure of improvements.
    """

    def __init__(self, start: Program, noise: float, objectives: Objectives) -> None:
        self.gains = Gains(start.score, noise)
        self._noise, self._objectives = noise, objectives
        self._best = [start] if start.is_scored else []
        self._programs = {one.id: one for one in self._best}
        self._origins: dict[str, str] = {}
        self._niches: dict[str, str] = {}
        self._born: dict[str, int] = {}

    @property
    def best_score(self) -> float | None:
        """The best score; `None` if nothing was scored."""
        return self._best[0].score if self._best else None

    def note(self, program: Program) -> None:
        """Add a program."""
        self._programs[program.id] = program
        self.gains.note(program.score)
        if len(self._best) < _PARTNERS or self._rank(program) >= self._rank(self._best[-1]):
            others = [one for one in self._best if one.id != program.id]
            best = sorted([*others, program], key=lambda one: len(one.body))  # of equals, the shortest is shown
            self._best = sorted(best, key=self._rank, reverse=True)[:_PARTNERS]

    def note_answer(self, program: Program, base_id: str, niche: str, answers: int) -> bool:
        """Add the program of an answer, which is the one of that number; return whether it is the best so far."""
        before = NO_SCORE if self.best_score is None else self.best_score
        self._origins[program.id], self._niches[program.id], self._born[program.id] = base_id, niche, answers
        self.note(program)
        return program.score > before and not are_level(program.score, before)

    def get(self, program_id: str) -> Program | None:
        """Return a program; `None` if the search was not told of it."""
        return self._programs.get(program_id)

    def score_of(self, program_id: str) -> float | None:
        """Return the score of a program; `None` if the search was not told of it."""
        program = self._programs.get(program_id)
        return program.score if program else None

    def born(self, program_id: str) -> int:
        """Return the number of answers before a program; 0 for what the search began with."""
        return self._born.get(program_id, 0)

    def base_of(self, program_id: str) -> str:
        """Return the program that a program came from; empty for what the search began with."""
        return self._origins.get(program_id, "")

    def ancestors(self, program_id: str) -> Iterator[str]:
        """Yield the programs that a program came from, each the base of the one before."""
        while parent := self._origins.get(program_id):
            yield parent
            program_id = parent

    def best_beside(self, base: Program) -> Program | None:
        """Return the best program of the run; `None` where the base is no worse."""
        best = self._best[0] if self._best else base
        if not base.is_scored or self._rank(best) <= self._rank(base):
            return None
        is_level = best.score != base.score and are_level(best.score, base.score, self._noise)
        return None if is_level else best

    def is_behind(self, program_id: str) -> bool:
        """Return whether half of the different scores or more are better than that of a program."""
        score = self.score_of(program_id)
        return score is not None and self.gains.rank(score) >= _BEHIND

    def shown(self, plan: Plan) -> tuple[Program, ...]:
        """Return the programs that a plan shows, with the best of its niche beside a base that is worse."""
        best = self._best_shown(plan)
        if best is None:
            return plan.shown
        others = [one for one in plan.shown[:-1] if one.id != best.id]
        return (*others[1:], best, plan.base) if len(plan.shown) > 1 else (best, plan.base)

    def shows_better(self, plan: Plan) -> bool:
        """Return whether the best program of the run is shown beside a base that is worse."""
        return self._best_shown(plan) is not None

    def partner(self, plan: Plan) -> Program | None:
        """Return the program to combine with the base: the best, where the base is worse, else the one that fits best.

        A base that is far behind gets the best, unless that came from it.

        With several inputs each has to be better than the other on one. With one input it is of another line, and
        differs from all of this line in more than numbers.
        """
        base, best = plan.base, plan.best
        if best and self.shows_better(plan) and self.is_behind(base.id):
            return None if base.id in self.ancestors(best.id) else best
        if len(base.scores) > 1:
            if shown := self._best_shown(plan):
                return partner_of(base, [shown])
            return partner_of(base, [one for one in self._best if one.score <= base.score])
        line = [base, *(self._programs[one] for one in self.ancestors(base.id) if one in self._programs)]
        ids, shapes = {one.id for one in line}, {shape_of(one.body) for one in line}
        others = (one for one in self._best if one.score < base.score and one.id not in ids)
        others = (one for one in others if shape_of(one.body) not in shapes)
        return next((one for one in others if base.id not in self.ancestors(one.id)), None)

    def _best_shown(self, plan: Plan) -> Program | None:
        """Return the best program, if it is better than a plan's base and was born in its niche.

        What the search began with is in all niches.
        """
        best = plan.best
        return best if best and self._niches.get(best.id, plan.niche) == plan.niche else None

    def _rank(self, program: Program) -> tuple[float, ...]:
        """Return what orders programs: the score, then the objectives beside it, so that none beats the first."""
        has_all = all(name in program.metrics for name in self._objectives.metrics)
        return self._objectives.goals(program.score, program.metrics) if has_all else (program.score,)
