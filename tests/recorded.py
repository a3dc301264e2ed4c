"""Reads what tables show of recorded nights from their archives; `python -m tests.docs` writes the index with it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from overnight.tasks.history.archive import unpack
from overnight.tasks.history.database import Database
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems import recorded
from overnight.tasks.problems.recorded import RecordedNight

_ENDS = """
SELECT start.program_id AS start, last(winners.program_id ORDER BY winners.night) AS best
FROM winners JOIN programs AS start ON start.run_id = winners.run_id AND start.generation = 0
WHERE winners.run_id = ? GROUP BY ALL
"""
_SCORES = """
SELECT score AS train, (
    SELECT last(finalist.held_out ORDER BY night)
    FROM (SELECT night, unnest(finalists) AS finalist FROM nights WHERE run_id = $1)
    WHERE finalist.program_id = $2
) AS held_out
FROM programs WHERE run_id = $1 AND program_id = $2
"""
_ANSWERS = """
SELECT count(*) AS answers, list(DISTINCT model ORDER BY model) AS models,
    count(*) FILTER (sample <= (SELECT best.sample FROM programs AS best WHERE best.program_id = $2)) AS found_after,
    (SELECT sum(cpu_s) FROM programs WHERE run_id = $1) AS seconds,
    (SELECT sum(tokens_in + tokens_out)::BIGINT FROM costs WHERE run_id = $1) AS tokens
FROM programs WHERE run_id = $1 AND generation > 0 AND proposer NOT IN ('tuner', 'pruner')
"""


def facts_of(archive: Path, folder: Path) -> RecordedNight:
    """Return what tables show of an archive, which is imported into a history in a folder."""
    files, _ = unpack(archive, LocalBackend(folder))
    database = Database(folder)

    def row(query: str, *parameters: str) -> dict[str, Any]:
        (found,) = database.rows(query, [files.run_id, *parameters])
        return found

    ends = row(_ENDS)
    start, best, answers = row(_SCORES, ends["start"]), row(_SCORES, ends["best"]), row(_ANSWERS, ends["best"])
    database.close()
    return RecordedNight(
        run_id=files.run_id,
        models=tuple(answers["models"] or ()),
        answers=answers["answers"],
        tokens=answers["tokens"] or None,
        seconds=round(answers["seconds"], 1),
        start=start["train"],
        found=best["train"],
        start_held_out=start["held_out"],
        found_held_out=best["held_out"],
        found_after=answers["found_after"],
    )


def write_index() -> bool:
    """Write the index of all archives; return whether it has changed."""
    with tempfile.TemporaryDirectory(prefix="overnight-recorded-") as folder:
        found = {name: facts_of(recorded.archive(name), Path(folder, name)) for name in recorded.names()}
    text = json.dumps({name: facts.model_dump(mode="json") for name, facts in found.items()}, indent=1) + "\n"
    is_new = not recorded.INDEX.exists() or recorded.INDEX.read_text(encoding="utf-8") != text
    if is_new:
        recorded.INDEX.write_text(text, encoding="utf-8")
    return is_new
