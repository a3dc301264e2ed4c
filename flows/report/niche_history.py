"""Collects each niche's best score over time, and its resets."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from flows.report.run_data import RunData
from schemas.report_data import NicheHistory

# A reset is the last event of its generation: it also removes programs that joined in that generation.
_MEMBERSHIPS = """
SELECT niche, event, program_id, cluster, from_generation, from_place, to_place
FROM population WHERE run_id = ? AND from_place <= ?
ORDER BY niche, from_place, event = 'founded'
"""


def niches(run_data: RunData) -> tuple[NicheHistory, ...]:
    """Return the history of every niche, up to the last generation that the report covers."""
    memberships: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in run_data.database.rows(_MEMBERSHIPS, [run_data.run.run_id, run_data.last_place]):
        memberships[row["niche"]].append(row)
    return tuple(
        _niche(name, memberships[name], run_data) for name in sorted(memberships, key=lambda name: (len(name), name))
    )


def _niche(name: str, memberships: list[dict[str, Any]], run_data: RunData) -> NicheHistory:
    samples_at = {summary.generation: summary.samples for summary in run_data.all_summaries}
    steps: list[tuple[int, float]] = []
    resets = []
    best, best_id = float("-inf"), ""
    for row in memberships:
        score = run_data.by_id[row["program_id"]]["score"]
        is_reset = row["event"] == "founded" and row["from_place"] > 0
        if is_reset:
            resets.append(samples_at[row["from_generation"]])
        if is_reset or score > best:
            best, best_id = score, row["program_id"]
            steps.append((samples_at[row["from_generation"]], best))
    last = run_data.last_place
    current = [row for row in memberships if row["to_place"] is None or row["to_place"] > last]
    first_sample = run_data.summaries[0].samples
    return NicheHistory(
        niche=name,
        steps=_steps_from(first_sample, steps),
        resets=tuple(sample for sample in resets if sample > first_sample),
        programs=len(current),
        clusters=len({row["cluster"] for row in current}),
        best_program_id=best_id,
    )


def _steps_from(sample: int, steps: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Return the steps after a sample, preceded by the score that the niche had at this sample."""
    before = [step for step in steps if step[0] <= sample]
    after = [step for step in steps if step[0] > sample]
    return ((sample, before[-1][1]), *after) if before else tuple(after)
