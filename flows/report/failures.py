"""What failed, gathered by kind, and what was proposed again and again."""

from __future__ import annotations

from flows.report.run_data import RunData
from schemas.report_data import Failure, RepeatedProposal

_KINDS = 12
_REPEATS = 5

# Errors differ by the line they stand in, the input and the numbers; what is left is the kind.
_FAILURES = """
WITH failed AS (
    SELECT
        outcome, program_id, error, body, generation, index,
        regexp_replace(split_part(error, chr(10), 1), '(, in line| \\(in line|, on input).*', '') AS said,
        regexp_replace(said, '-?\\d[\\d.e+]*', '#', 'g') AS kind
    FROM programs
    WHERE run_id = ? AND generation BETWEEN ? AND ? AND outcome NOT IN ('scored', 'duplicate')
)
SELECT
    outcome, kind, count(*) AS candidates, count(*) FILTER (generation >= ?) AS last_night,
    arg_max(program_id, (generation, -index)) AS program_id,
    arg_max(error, (generation, -index)) AS error,
    arg_max(body, (generation, -index)) AS body
FROM failed GROUP BY outcome, kind ORDER BY last_night DESC, candidates DESC, outcome, kind LIMIT ?
"""

_AGAIN = """
WITH again AS (
    SELECT code_hash, count(*) AS times FROM programs
    WHERE run_id = ? AND generation BETWEEN ? AND ? AND outcome = 'duplicate' AND code_hash <> '' GROUP BY code_hash
)
SELECT p.program_id, p.score, p.outcome, p.body, again.times
FROM again JOIN programs AS p ON p.code_hash = again.code_hash AND p.run_id = ?
WHERE p.outcome <> 'duplicate'
QUALIFY row_number() OVER (PARTITION BY p.code_hash ORDER BY p.generation, p.index) = 1
ORDER BY again.times DESC, p.generation, p.index LIMIT ?
"""


def failures(material: RunData) -> tuple[Failure, ...]:
    """The commonest kinds of failure, those of the last night first."""
    nights = [moment.night for moment in material.told[1:]]
    last_night = next(
        (moment.generation for moment in material.told[1:] if moment.night == nights[-1]), material.last + 1
    )
    rows = material.database.rows(_FAILURES, [material.run.run_id, material.first, material.last, last_night, _KINDS])
    return tuple(
        Failure(
            row["outcome"],
            row["kind"],
            row["candidates"],
            row["last_night"],
            row["program_id"],
            row["error"],
            material.function(row["body"]),
        )
        for row in rows
    )


def repeats(material: RunData) -> tuple[RepeatedProposal, ...]:
    """The programs proposed most often after they were judged."""
    run_id = material.run.run_id
    rows = material.database.rows(_AGAIN, [run_id, material.first, material.last, run_id, _REPEATS])
    return tuple(
        RepeatedProposal(row["program_id"], row["times"], row["score"], row["outcome"], material.function(row["body"]))
        for row in rows
        if row["times"] > 1
    )
