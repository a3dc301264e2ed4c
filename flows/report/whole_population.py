"""Collects what the report shows of the whole population: its scored candidates, their code, and its diversity."""

from __future__ import annotations

from collections.abc import Sequence

from flows.report.run_data import Row, RunData
from schemas.report_data import DiversityPoint, ScorePoint

MAX_POINTS = 3_000
"""Candidates that are drawn: more of them are a cloud in which none can be pointed at."""
_MAX_FUNCTIONS = 1_000
_MAX_CHARACTERS = 1_500_000
"""Code in a report in characters; compressed, a tenth to a third of that."""

_BODIES = "SELECT program_id, body FROM programs WHERE run_id = ? AND list_contains(?, program_id)"
_DIVERSITY = """
SELECT generation, sum(programs)::INTEGER AS programs, sum(clusters)::INTEGER AS behaviours
FROM niches_over_time(?) GROUP BY generation ORDER BY generation
"""


def scored_points(run_data: RunData) -> tuple[tuple[ScorePoint, ...], int]:
    """Return the scored candidates that the report shows, in order, and the number of those left out.

    Of more than `MAX_POINTS`, every k-th and all that were the best of the run are shown.
    """
    rows = [row for row in run_data.covered_candidates if row["score"] is not None]
    bests = {summary.best_program_id for summary in run_data.summaries}
    step = -(-len(rows) // MAX_POINTS)
    shown = [row for place, row in enumerate(rows) if place % step == 0 or row["program_id"] in bests]
    return tuple(_point(run_data, row) for row in shown), len(rows) - len(shown)


def functions_of(run_data: RunData, points: Sequence[ScorePoint]) -> dict[str, str]:
    """Return the evolved functions of the best points by program id, as many as the report has room for."""
    bests = {summary.best_program_id for summary in run_data.summaries}
    ranked = sorted(points, key=lambda point: (point.program_id not in bests, -point.score, point.sample))
    ids = list(dict.fromkeys([*bests, *(point.program_id for point in ranked)]))[:_MAX_FUNCTIONS]
    found = run_data.database.rows(_BODIES, [run_data.run.run_id, ids])
    bodies = {row["program_id"]: row["body"] for row in found}
    functions: dict[str, str] = {}
    room = _MAX_CHARACTERS
    for program_id in ids:
        text = run_data.function_text(bodies[program_id])
        room -= len(text)
        if room < 0:
            break
        functions[program_id] = text
    return functions


def diversity(run_data: RunData) -> tuple[DiversityPoint, ...]:
    """Return the state of the population at the end of each generation that the report covers."""
    states = {row["generation"]: row for row in run_data.database.rows(_DIVERSITY, [run_data.run.run_id])}
    return tuple(
        DiversityPoint(summary.samples, state["programs"], state["behaviours"])
        for summary in run_data.summaries
        if (state := states.get(summary.generation))
    )


def _point(run_data: RunData, row: Row) -> ScorePoint:
    return ScorePoint(
        sample=run_data.sample_number(row),
        score=row["score"],
        program_id=row["program_id"],
        niche=row["niche"] or "",
        model=row["model"],
        operator=row["operator"] or "",
    )
