"""Finds the ancestors of a program, back to the start program."""

from __future__ import annotations

import difflib
from dataclasses import replace

from overnight.flows.report.run_data import Row, RunData, bodies_of, made
from overnight.schemas.report_rows import Ancestor
from overnight.tasks.report.lineage_graph import line_of_descent

_MAX_ANCESTORS = 400
"""Ancestors in a lineage, the closest generations of ancestry first."""

_FAMILY = "SELECT program_id FROM lineage(?) WHERE score IS NOT NULL"
_MAX_PAIRS = 1_000_000
"""Pairs of words up to which the order of words counts in a comparison: the time grows with their number."""


def lineage(run_data: RunData, program_id: str) -> tuple[Ancestor, ...]:
    """Return a program's ancestors and the program itself, oldest first, each with its most similar parent.

    The line of these parents always reaches the start program. Beyond it, the closest ancestors are included. A program
    without a score, such as one that was repaired, is left out: its parents stand for it.
    """
    ids = [row["program_id"] for row in run_data.database.rows(_FAMILY, [program_id])]
    bodies = bodies_of(run_data.database, run_data.run.run_id, ids)
    by_id = {one: _ancestor(run_data, run_data.by_id[one], bodies[one]) for one in ids}
    line = _nearest_parents(by_id, program_id)
    chosen = set(list(dict.fromkeys([*line, *ids]))[: max(_MAX_ANCESTORS, len(line))])
    oldest_first = [name for name in run_data.by_id if name in chosen]
    return tuple(
        replace(by_id[name], nearest_parent_id=line.get(name) or _nearest_parent(by_id, name)) for name in oldest_first
    )


def _ancestor(run_data: RunData, row: Row, body: str) -> Ancestor:
    parents = tuple(_scored_parents(run_data, row["program_id"]))
    return made(Ancestor, row, parent_ids=parents, function=run_data.function_text(body))


def line_to(run_data: RunData, program_id: str) -> list[Ancestor]:
    """Return the line of most similar parents, from the start program to this program."""
    return line_of_descent(lineage(run_data, program_id))


def _scored_parents(run_data: RunData, program_id: str) -> list[str]:
    """Return the ids of the parents that have a score; the parents of one that has none stand in its place."""
    scored: dict[str, None] = {}
    for parent_id in run_data.by_id[program_id]["parent_ids"] or ():
        if (row := run_data.by_id.get(parent_id)) is not None:
            scored |= dict.fromkeys([parent_id] if row["score"] is not None else _scored_parents(run_data, parent_id))
    return list(scored)


def _nearest_parents(by_id: dict[str, Ancestor], program_id: str) -> dict[str, str]:
    """Return, for each program of the line of descent, the id of its most similar parent."""
    line = {}
    while program_id:
        line[program_id] = _nearest_parent(by_id, program_id)
        program_id = line[program_id]
    return line


def _nearest_parent(by_id: dict[str, Ancestor], program_id: str) -> str:
    """Return the parent whose function is most similar to the program's; among equals, the better one."""
    own = by_id[program_id]
    parents = [by_id[parent_id] for parent_id in own.parent_ids if parent_id in by_id]
    if len(parents) < 2:
        return "".join(parent.program_id for parent in parents)
    # Prompts show parents with the best one last.
    return max(reversed(parents), key=lambda parent: _similarity(parent.function, own.function)).program_id


def _similarity(first: str, second: str) -> float:
    """Return the share of words that two texts have in common, 0 to 1."""
    words, others = first.split(), second.split()
    matcher = difflib.SequenceMatcher(None, words, others, autojunk=False)
    return matcher.ratio() if len(words) * len(others) <= _MAX_PAIRS else matcher.quick_ratio()
