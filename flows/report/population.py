"""Collects what the report shows of the population: its scored candidates, their code, its diversity and its niches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from overnight.flows.report.run_data import Row, RunData
from overnight.schemas.report_data import DiversityPoint, NicheHistory, ScorePoint

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

# A reset is the last event of its generation: it also removes programs that joined in that generation.
_MEMBERSHIPS = """
SELECT niche, event, program_id, cluster, from_generation, from_place, to_place
FROM population WHERE run_id = ? AND from_place <= ?
ORDER BY niche, from_place, event = 'founded'
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


def niches(run_data: RunData) -> tuple[NicheHistory, ...]:
    """Return the history of every niche, up to the last generation that the report covers."""
    memberships: dict[str, list[Row]] = defaultdict(list)
    for row in run_data.database.rows(_MEMBERSHIPS, [run_data.run.run_id, run_data.last_place]):
        memberships[row["niche"]].append(row)
    return tuple(
        _niche(name, memberships[name], run_data) for name in sorted(memberships, key=lambda name: (len(name), name))
    )


def _niche(name: str, memberships: list[Row], run_data: RunData) -> NicheHistory:
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
