"""Islands over time: the best score of each, and when it was emptied."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from flows.report.run_data import RunData
from schemas.report_data import IslandHistory

# A reset comes last in its generation: whoever joined in it is gone.
_STAYS = """
SELECT island, event, program_id, cluster, from_generation, to_generation
FROM population WHERE run_id = ? AND from_generation <= ?
ORDER BY island, from_generation, event = 'founded'
"""


def islands(material: RunData) -> tuple[IslandHistory, ...]:
    """Every island of a run, as it stood at the end of what is told."""
    stays: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in material.database.rows(_STAYS, [material.run.run_id, material.last]):
        stays[row["island"]].append(row)
    return tuple(_island(number, rows, material) for number, rows in sorted(stays.items()))


def _island(number: int, stays: list[dict[str, Any]], material: RunData) -> IslandHistory:
    samples_at = {moment.generation: moment.samples for moment in material.moments}
    steps: list[tuple[int, float]] = []
    resets = []
    best, best_id = float("-inf"), ""
    for stay in stays:
        score = material.by_id[stay["program_id"]]["score"]
        founded = stay["event"] == "founded" and stay["from_generation"] > 0
        if founded:
            resets.append(samples_at[stay["from_generation"]])
        if founded or score > best:
            best, best_id = score, stay["program_id"]
            steps.append((samples_at[stay["from_generation"]], best))
    alive = [stay for stay in stays if stay["to_generation"] is None or stay["to_generation"] > material.last]
    begin = material.told[0].samples
    return IslandHistory(
        island=number,
        steps=_since(begin, steps),
        resets=tuple(sample for sample in resets if sample > begin),
        programs=len(alive),
        clusters=len({stay["cluster"] for stay in alive}),
        best_program_id=best_id,
    )


def _since(begin: int, steps: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """The steps after `begin`, and at it the one that held then."""
    before = [step for step in steps if step[0] <= begin]
    after = [step for step in steps if step[0] > begin]
    return ((begin, before[-1][1]), *after) if before else tuple(after)
