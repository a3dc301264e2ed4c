"""The programs that a run has kept: those alive in its niches, and its best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from schemas.algorithm import Algorithm, Niche
from schemas.program import Program


@dataclass(frozen=True, slots=True)
class Survivor:
    """A program and the niches it lives in; the one it was born in, where it lives nowhere any more."""

    program: Program
    niches: tuple[str, ...]


def surviving_programs(
    algorithm: Algorithm,
    start: Program,
    best: Sequence[tuple[str, Program]],
    code_hash: Callable[[str], str],
    most: int | None = None,
) -> list[Survivor]:
    """Return distinct bodies, best first, without the start program.

    Args:
        algorithm: Its niches, as they are.
        start: The start program.
        best: The best programs of the run and the niches they were born in, alive or not; kept first.
        code_hash: Agrees for bodies that are the same.
        most: How many; the niches take turns, each with its best.
    """
    alive: dict[str, list[str]] = {}
    for name, niche in algorithm.niches.items():
        for program in _best_first(niche):
            alive.setdefault(code_hash(program.body), []).append(name)
    turns = zip_longest(*map(_best_first, algorithm.niches.values()))
    in_turns = (program for turn in turns for program in turn if program)
    found: dict[str, Survivor] = {}
    for born, program in (*best, *(("", program) for program in in_turns)):
        digest = code_hash(program.body)
        if program.id != start.id and digest not in found:
            found[digest] = Survivor(program, tuple(dict.fromkeys(alive.get(digest, [born]))))
    survivors = list(found.values())[:most]
    return sorted(survivors, key=lambda survivor: survivor.program.score, reverse=True)


def _best_first(niche: Niche) -> Iterator[Program]:
    return iter(sorted(niche.programs, key=lambda program: program.score, reverse=True))
