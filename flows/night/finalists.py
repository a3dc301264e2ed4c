"""Which programs are in a night's final evaluation, and which of them comes first. Plain data and rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from overnight.schemas.objectives import Objectives
from overnight.schemas.program import Program
from overnight.tasks.select.front import nondominated


def finalists_of(start: Program, programs: Iterable[Program], objectives: Objectives, most: int) -> list[Program]:
    """Return the start program and so many of the best programs by training score; none without a score."""
    others = [program for program in _best_of_each_signature(programs, objectives)[:most] if program.id != start.id]
    return [one for one in (start, *others) if one.is_scored]


def _best_of_each_signature(programs: Iterable[Program], objectives: Objectives) -> list[Program]:
    """Return the best programs, one per signature, since equal scores on all training inputs suggest equal programs.

    Of these, it is one that was pruned, or else the first.
    """
    programs = list(programs)
    beaten = _beaten(programs, objectives)
    first: dict[tuple[float, ...], Program] = {}
    for program in sorted(programs, key=lambda program: (program.id in beaten, not program.pruned_from)):
        first.setdefault(program.scores, program)
    return sorted(first.values(), key=lambda program: program.score, reverse=True)


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


def ranked(programs: list[Program], validation: Mapping[str, float], objectives: Objectives) -> list[Program]:
    """Sort programs by validation score, then by training score; programs without a validation score come last.

    Of equals, those come first that no other one beats in another objective, and of these those that were pruned.
    """
    beaten = _beaten(programs, objectives)

    def place(program: Program) -> tuple[float, float, bool, bool]:
        by_inputs = validation.get(program.id, float("-inf")), program.score
        return *by_inputs, program.id not in beaten, program.pruned_from != ""

    return sorted(programs, key=place, reverse=True)
