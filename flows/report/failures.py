"""Groups failed candidates by kind of error, and finds programs that were proposed repeatedly."""

from __future__ import annotations

from overnight.flows.report.run_data import RunData
from overnight.schemas.report_rows import Failure, RepeatedProposal

_MAX_KINDS = 12
_MAX_REPEATS = 5

_FAILURES = """
SELECT
    outcome, kind_of(error) AS kind, count(*) AS candidates, count(*) FILTER (place >= $4) AS last_night,
    arg_max(program_id, (place, -index)) AS program_id,
    arg_max(error, (place, -index)) AS error,
    arg_max(body, (place, -index)) AS body
FROM programs WHERE run_id = $1 AND place BETWEEN $2 AND $3 AND outcome NOT IN ('scored', 'duplicate')
GROUP BY outcome, kind ORDER BY last_night DESC, candidates DESC, outcome, kind LIMIT $5
"""

_REPEATED = """
WITH repeated AS (
    SELECT code_hash, count(*) AS times FROM programs
    WHERE run_id = $1 AND place BETWEEN $2 AND $3 AND outcome = 'duplicate' AND code_hash <> ''
    GROUP BY code_hash HAVING times > 1
)
SELECT p.program_id, p.score, p.outcome, p.body, repeated.times
FROM repeated JOIN programs AS p ON p.code_hash = repeated.code_hash AND p.run_id = $1
WHERE p.outcome <> 'duplicate'
QUALIFY row_number() OVER (PARTITION BY p.code_hash ORDER BY p.place, p.index) = 1
ORDER BY repeated.times DESC, p.place, p.index LIMIT $4
"""


def failures(run_data: RunData) -> tuple[Failure, ...]:
    """Return the most frequent kinds of failure, ordered by their number in the last night."""
    first, last = run_data.first_place, run_data.last_place
    covered = run_data.summaries[1:]
    last_night_starts = next((one.place for one in covered if one.night == covered[-1].night), last + 1)
    rows = run_data.rows(_FAILURES, first, last, last_night_starts, _MAX_KINDS)
    return tuple(Failure(function=run_data.function_text(row.pop("body")), **row) for row in rows)


def repeats(run_data: RunData) -> tuple[RepeatedProposal, ...]:
    """Return the programs that were proposed most often after they had been evaluated."""
    rows = run_data.rows(_REPEATED, run_data.first_place, run_data.last_place, _MAX_REPEATS)
    return tuple(RepeatedProposal(function=run_data.function_text(row.pop("body")), **row) for row in rows)
