"""Which programs are in a night's final evaluation, and which of them comes first. Plain data and rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from overnight.schemas.objectives import NO_OBJECTIVES, Objectives
from overnight.schemas.problem import Problem, Split
from overnight.schemas.program import Program
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.report.number_format import gain_of
from overnight.tasks.report.refusal import is_worse
from overnight.tasks.select.front import nondominated
from overnight.tasks.tune.pruning import size_of

_WITHOUT_OBJECTIVES = ("",)
"""Numbers of rules (`RULES_VERSION`) by which scores alone ranked: those of versions that gave none."""

_WITHOUT_SIMPLEST = (*_WITHOUT_OBJECTIVES, "2")
"""Numbers of rules by which the simplest of programs that are level was not preferred."""


@dataclass(frozen=True)
class Ranking:
    """The rules by which the programs of a final evaluation are chosen and ranked.

    Attributes:
        start: The start program, which stays the best until another is better.
        most: Most programs beside it.
        noise: Difference of scores, by inputs, up to which programs are level; empty if the simplest of them is not
            preferred.
        is_validated: Whether there are validation inputs, on which a program is confirmed before it is shown.
        needs_confirmation: Whether only confirmed programs are shown as the best.
    """

    skeleton: Skeleton
    start: Program
    objectives: Objectives
    most: int
    noise: Mapping[Split, float]
    is_validated: bool
    needs_confirmation: bool

    @classmethod
    def of(cls, problem: Problem, start: Program, rules: str | None = None) -> Ranking:
        """Return the ranking of a problem's programs, by the rules of an older version if their number is given."""
        settings, inputs = problem.settings, problem.inputs
        splits: tuple[Split, ...] = ("train", "validation")
        noise = dict[Split, float]()
        for split in () if rules in _WITHOUT_SIMPLEST else splits:
            noise[split] = settings.noise * (len(inputs[split]) if settings.reducer == "sum" else 1)
        return cls(
            skeleton=problem.specification,
            start=start,
            objectives=NO_OBJECTIVES if rules in _WITHOUT_OBJECTIVES else settings.objectives,
            most=settings.finalists,
            noise=noise,
            is_validated=bool(inputs["validation"]),
            needs_confirmation=settings.sandbox.confirm != "never",
        )

    def finalists(self, programs: Iterable[Program]) -> list[Program]:
        """Return the start program and the best programs by training score; none without a score.

        There is one per signature, since equal scores on all training inputs suggest equal programs: the simplest. But
        where validation inputs may tell them apart, it is one that was pruned, or the first, which may have won before.
        """
        programs = list(programs)
        beaten = _beaten(programs, self.objectives)
        alike = defaultdict[tuple[float, ...], list[Program]](list)
        for program in sorted(
            programs, key=lambda one: (not self._may_be_shown(one), one.id in beaten, not one.pruned_from)
        ):
            alike[program.scores].append(program)
        best = sorted(alike.values(), key=lambda same: same[0].score, reverse=True)[: self.most]
        chosen = [same[0] if self.is_validated else self._simplest(same, {}) for same in best]
        others = [one for one in chosen if one.id != self.start.id]
        return [one for one in (self.start, *others) if one.is_scored]

    def ranked(self, programs: Iterable[Program], validation: Mapping[str, float]) -> list[Program]:
        """Sort programs by validation score, then by training score; the simplest of those comes first that are level.

        Programs without a validation score come last. Of equals, confirmed ones come first where confirmation is
        needed, since the metrics of the others may be forged; then those that no other one beats in an objective.
        """
        programs = list(programs)
        beaten = _beaten(programs, self.objectives)

        def place(program: Program) -> tuple[float, float, bool, bool]:
            of_validation = validation.get(program.id, float("-inf"))
            return of_validation, program.score, self._may_be_shown(program), program.id not in beaten

        order = sorted(programs, key=place, reverse=True)
        first = self._simplest(order, validation)
        return [first, *(one for one in order if one is not first)]

    def beside_original(
        self,
        order: Sequence[Program],
        original: Program,
        validation: Mapping[str, float],
        held_out: Mapping[str, float],
    ) -> list[Program]:
        """Return the order with the program of which the first one was left, behind it; before it if that is better.

        Held-out scores only refuse what pruning made: they choose between no other programs.
        """
        first, others = order[0], [one for one in order[1:] if one.id != original.id]
        is_known = original.id in validation or not self.is_validated
        is_refused = is_known and is_worse(held_out.get(first.id), held_out.get(original.id))
        return [original, first, *others] if is_refused else [first, original, *others]

    def _simplest(self, order: Sequence[Program], validation: Mapping[str, float]) -> Program:
        """Return the program with the smallest syntax tree of those that are level with the first one.

        It is the first one where that is the start program, or where sizes are not known.
        """
        first = order[0]
        if first.id == self.start.id or not self.noise or (least := size_of(self.skeleton, first.body)) is None:
            return first
        simplest = first
        for one in order[1:]:
            if self._is_level(one, first, validation):
                size = size_of(self.skeleton, one.body)
                if size is not None and size < least:
                    simplest, least = one, size
        return simplest

    def _is_level(self, one: Program, first: Program, validation: Mapping[str, float]) -> bool:
        """Return whether a program may be shown in place of the first one, and is within the noise no worse."""
        if one.id == self.start.id:
            return False
        if validation:
            may_be = self._is_as_good("validation", validation.get(one.id), validation.get(first.id))
        else:
            may_be = self._may_be_shown(one)
        is_better = self.objectives.changes(one.metrics, first.metrics).values()
        return may_be and all(is_better) and self._is_as_good("train", one.score, first.score)

    def _may_be_shown(self, program: Program) -> bool:
        return program.is_confirmed or not self.needs_confirmation or program.id == self.start.id

    def _is_as_good(self, split: Split, score: float | None, than: float | None) -> bool:
        return score is not None and than is not None and gain_of(score + self.noise[split], than) <= 0


def _beaten(programs: list[Program], objectives: Objectives) -> set[str]:
    """Return the programs with the score of another one that is better in an objective and as good in the others."""
    alike = defaultdict[float, list[Program]](list)
    for program in programs if objectives.metrics else ():
        alike[program.score].append(program)
    beaten = set[str]()
    for same in alike.values():
        if len(same) > 1:
            flags = nondominated([objectives.goals(program.score, program.metrics) for program in same])
            beaten |= {program.id for program, is_kept in zip(same, flags, strict=True) if not is_kept}
    return beaten
