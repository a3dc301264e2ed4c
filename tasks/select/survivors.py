"""Which programs a run has kept: those alive on its islands, and its best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from schemas.program import Program
from tasks.select.islands import Island, Population


@dataclass(frozen=True, slots=True)
class Survivor:
    """A program and the islands it lives on; the one it was born on, where it lives nowhere any more."""

    program: Program
    islands: tuple[int, ...]


def surviving_programs(
    population: Population,
    best: Sequence[tuple[int, Program]],
    code_hash: Callable[[str], str],
    most: int | None = None,
) -> list[Survivor]:
    """Distinct bodies, best first; the start program is none of them.

    Args:
        population: As it is.
        best: The best programs of the run and the islands they were born on, whether they are alive or not; kept first.
        code_hash: Agrees for bodies that are the same.
        most: How many; the islands take turns, each with its best.
    """
    alive: dict[str, list[int]] = {}
    for number, island in enumerate(population.islands):
        for program in _best_first(island):
            alive.setdefault(code_hash(program.body), []).append(number)
    in_turns = (program for turn in zip_longest(*map(_best_first, population.islands)) for program in turn if program)
    found: dict[str, Survivor] = {}
    for born, program in (*best, *((-1, program) for program in in_turns)):
        digest = code_hash(program.body)
        if program.id != population.start.id and digest not in found:
            found[digest] = Survivor(program, tuple(dict.fromkeys(alive.get(digest, [born]))))
    kept = list(found.values())[:most]
    return sorted(kept, key=lambda one: one.program.score, reverse=True)


def _best_first(island: Island) -> Iterator[Program]:
    programs = [program for cluster in island.clusters.values() for program in cluster.programs]
    return iter(sorted(programs, key=lambda program: program.score, reverse=True))
