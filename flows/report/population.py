"""Collects what the report shows of the population: its scored candidates, their code, its diversity and its niches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from overnight.flows.report.run_data import Row, RunData, bodies_of, made
from overnight.schemas.report_rows import DiversityPoint, NicheHistory, ScorePoint

MAX_POINTS = 3_000
"""Candidates that are drawn: more of them are a cloud in which none can be pointed at."""
_MAX_FUNCTIONS = 1_000
_MAX_CHARACTERS = 1_500_000
"""Code in a report in characters; compressed, a tenth to a third of that."""

_DIVERSITY = """
SELECT generation, sum(programs)::INTEGER AS programs, sum(clusters)::INTEGER AS behaviours
FROM niches_over_time(?) GROUP BY generation ORDER BY generation
"""

_MEMBERSHIPS = """
SELECT niche, event = 'founded' AND from_place > 0 AS is_reset, program_id, cluster, from_generation, from_place,
    coalesce(to_place > $2, true) AS is_there
FROM population WHERE run_id = $1 AND from_place <= $2
"""


def scored_points(run_data: RunData) -> tuple[tuple[ScorePoint, ...], int]:
    """Return the scored candidates that the report shows, in order, and the number of those left out.

    Of more than `MAX_POINTS`, every k-th and all that were the best of the run are shown.
    """
    rows = [row for row in run_data.covered(run_data.candidates) if row["score"] is not None]
    bests = {summary.best_program_id for summary in run_data.summaries}
    step = -(-len(rows) // MAX_POINTS)
    shown = [row for place, row in enumerate(rows) if place % step == 0 or row["program_id"] in bests]
    return tuple(made(ScorePoint, row) for row in shown), len(rows) - len(shown)


def functions_of(run_data: RunData, points: Sequence[ScorePoint]) -> dict[str, str]:
    """Return the evolved functions of the best points by program id, as many as the report has room for."""
    bests = {summary.best_program_id for summary in run_data.summaries}
    ranked = sorted(points, key=lambda point: (point.program_id not in bests, -point.score, point.sample))
    ids = list(dict.fromkeys([*bests, *(point.program_id for point in ranked)]))[:_MAX_FUNCTIONS]
    bodies = bodies_of(run_data.database, run_data.run.run_id, ids)
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
    states = {row.pop("generation"): row for row in run_data.rows(_DIVERSITY)}
    covered = [one for one in run_data.summaries if one.generation in states]
    return tuple(DiversityPoint(one.samples, **states[one.generation]) for one in covered)


def niches(run_data: RunData) -> tuple[NicheHistory, ...]:
    """Return the history of every niche, up to the last generation that the report covers."""

    def order(row: Row) -> tuple[object, ...]:
        # A reset is the last event of its generation: it also removes programs that joined in that generation.
        niche, its = row["niche"], run_data.by_id[row["program_id"]]
        return len(niche), niche, row["from_place"], row["is_reset"], its["place"], its["index"]

    rows = sorted(run_data.rows(_MEMBERSHIPS, run_data.last_place), key=order)
    return tuple(_niche(run_data, name, stays) for name, stays in groupby(rows, key=lambda row: row["niche"]))


def _niche(run_data: RunData, name: str, stays: Iterable[Row]) -> NicheHistory:
    samples_at = {summary.generation: summary.samples for summary in run_data.all_summaries}
    steps: list[tuple[int, float]] = []
    resets, clusters = [], []
    best, best_id = float("-inf"), ""
    for row in stays:
        sample, score = samples_at[row["from_generation"]], run_data.by_id[row["program_id"]]["score"]
        resets += [sample] if row["is_reset"] else []
        clusters += [row["cluster"]] if row["is_there"] else []
        if row["is_reset"] or score > best:
            best, best_id = score, row["program_id"]
            steps.append((sample, best))
    first = run_data.summaries[0].samples
    before = [(first, score) for sample, score in steps if sample <= first]
    return NicheHistory(
        niche=name,
        steps=(*before[-1:], *(step for step in steps if step[0] > first)),
        resets=tuple(sample for sample in resets if sample > first),
        programs=len(clusters),
        clusters=len(set(clusters)),
        best_program_id=best_id,
    )
