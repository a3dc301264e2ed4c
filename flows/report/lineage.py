"""Where a program comes from: its ancestors back to the start program."""

from __future__ import annotations

import difflib
from dataclasses import replace

from flows.report.run_data import RunData
from schemas.report_data import Ancestor

_MOST = 400
"""Ancestors that are told of; the nearest come first."""


def lineage(material: RunData, program_id: str) -> tuple[Ancestor, ...]:
    """A program's ancestors and itself, oldest first, each with the parent it is nearest to.

    The line of those parents always reaches the start program; of the other ancestors the nearest are kept.
    """
    found = _ancestry(material, program_id)
    bodies = _bodies(material, list(found))
    by_id: dict[str, Ancestor] = {}
    for one in found:
        row = material.by_id[one]
        by_id[one] = Ancestor(
            program_id=one,
            generation=row["generation"],
            sample=material.sample(row),
            island=row["island"],
            model=row["model"],
            score=row["score"],
            parent_ids=tuple(row["parent_ids"] or ()),
            function=material.function(bodies[one]),
        )
    line = _main_line(by_id, program_id)
    kept = [*line, *(one for one in found if one not in line)][: max(_MOST, len(line))]
    told = [replace(by_id[one], mother_id=line.get(one) or _mother(by_id, one)) for one in kept]
    return tuple(sorted(told, key=lambda one: (one.generation, one.sample)))


def line(material: RunData, program_id: str) -> tuple[Ancestor, ...]:
    """The line of nearest parents, from the start program to this one."""
    by_id = {one.program_id: one for one in lineage(material, program_id)}
    steps = [by_id[program_id]]
    while steps[-1].mother_id:
        steps.append(by_id[steps[-1].mother_id])
    return tuple(reversed(steps))


def _ancestry(material: RunData, program_id: str) -> dict[str, None]:
    """Itself and all its ancestors, the nearest first."""
    found: dict[str, None] = {program_id: None}
    for one in (queue := [program_id]):
        for parent in material.by_id[one]["parent_ids"] or ():
            if parent in material.by_id and parent not in found:
                found[parent] = None
                queue.append(parent)
    return found


def _main_line(by_id: dict[str, Ancestor], program_id: str) -> dict[str, str]:
    line = {}
    while program_id:
        line[program_id] = _mother(by_id, program_id)
        program_id = line[program_id]
    return line


def _mother(by_id: dict[str, Ancestor], program_id: str) -> str:
    """The parent whose function is nearest to the program's own; of equally near ones the better."""
    own = by_id[program_id]
    parents = [by_id[parent] for parent in own.parent_ids if parent in by_id]
    if not parents:
        return ""
    return max(reversed(parents), key=lambda parent: _likeness(parent.function, own.function)).program_id


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def _bodies(material: RunData, program_ids: list[str]) -> dict[str, str]:
    query = "SELECT program_id, body FROM programs WHERE run_id = ? AND list_contains(?, program_id)"
    rows = material.database.rows(query, [material.run.run_id, program_ids])
    return {row["program_id"]: row["body"] for row in rows}
