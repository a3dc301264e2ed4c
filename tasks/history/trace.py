"""Write a run as an evolution trace: one line of JSON for each step from a parent to a child, in OpenEvolve's form.

The fields are those of `EvolutionTrace` in OpenEvolve's `evolution_trace.py`. All lines have the same fields, and texts
are never null, so that readers which infer a schema from the first lines take the later ones, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from overnight.tasks.history.archive import replacing
from overnight.tasks.history.database import Database

# The base of a prompt is stored last; what came from another run has no parent here.
_STEPS = """
SELECT
    child.*, epoch(coalesce(child.judged_at, child.asked_at)) AS timestamp,
    parent.program_id AS parent_id, parent.body AS parent_body, parent.score AS parent_score
FROM programs AS child
JOIN programs AS parent ON parent.run_id = child.run_id AND parent.program_id = child.parent_ids[-1]
WHERE child.run_id = ?
ORDER BY child.place, child."index"
"""

_METADATA = (
    *("run_id", "niche", "parent_ids", "scores", "tokens_in", "tokens_out", "cost_usd", "wall_s", "peak_mib"),
    *("model", "operator", "idea", "finish_reason"),
)
"""Columns that OpenEvolve has no field for."""

_TEXTS = ("parent_body", "body", "prompt", "completion", "outcome", "error", "output", *_METADATA[-4:])

_ROWS = 1000
"""Number of rows that are converted at a time."""


def write_trace(database: Database, run_id: str, target: Path, code_of: Callable[[str], str]) -> int:
    """Write the steps of a run to a file, one line each, replacing it in one step; return their number.

    Args:
        database: The history.
        run_id: Id of the run.
        target: File to write.
        code_of: Returns the whole functions, or files, of a body.

    Raises:
        EnvironmentFault: If it cannot be written.
    """
    steps = 0
    with replacing(target) as part, part.open("wb") as file:
        for batch in database.query(_STEPS, [run_id]).to_batches(max_chunksize=_ROWS):
            file.writelines(orjson.dumps(_step(row, code_of)) + b"\n" for row in batch.to_pylist())
            steps += batch.num_rows
    return steps


def _step(row: dict[str, Any], code_of: Callable[[str], str]) -> dict[str, Any]:
    """Return one step; a child that was not scored has no `combined_score`, and its artifacts say why."""
    row = row | {name: row[name] or "" for name in _TEXTS}
    score, parent_score = row["score"], row["parent_score"]
    gain = None if score is None or parent_score is None else score - parent_score
    return {
        "iteration": row["sample"],
        "timestamp": row["timestamp"],
        "parent_id": row["parent_id"],
        "child_id": row["program_id"],
        "parent_metrics": {"combined_score": parent_score},
        "child_metrics": {"combined_score": score},
        "parent_code": row["parent_body"] and code_of(row["parent_body"]),
        "child_code": row["body"] and code_of(row["body"]),
        "prompt": {"user": row["prompt"]},
        "llm_response": row["completion"],
        "improvement_delta": {"combined_score": gain},
        "island_id": int(row["niche"]) if (row["niche"] or "").isdecimal() else None,
        "generation": row["generation"],
        "artifacts": {name: row[name] for name in ("outcome", "error", "output")},
        "metadata": {name: row[name] for name in _METADATA},
    }
