"""Reads what tables show of recorded nights from their archives; `python -m tests.docs` writes the index with it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from overnight.tasks.history.archive import unpack
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems import recorded
from overnight.tasks.problems.recorded import RecordedNight

_ENDS = """
SELECT winners.run_id, start.program_id AS start, last(winners.program_id ORDER BY winners.night) AS best
FROM winners JOIN programs AS start ON start.run_id = winners.run_id AND start.generation = 0
GROUP BY ALL
"""
_SCORES = """
WITH judged AS (SELECT night, unnest(finalists) AS finalist FROM nights)
SELECT program_id, score AS train, (
    SELECT last(finalist.held_out ORDER BY night) FROM judged WHERE finalist.program_id = programs.program_id
) AS held_out
FROM programs WHERE list_contains(?, program_id)
"""
_ANSWERS = """
WITH best AS (SELECT run_id, sample FROM programs WHERE list_contains(?, program_id)),
spent AS (SELECT run_id, sum(tokens_in + tokens_out)::BIGINT AS tokens FROM costs GROUP BY run_id),
sampled AS (SELECT *, generation > 0 AND proposer NOT IN ('tuner', 'pruner') AS is_answer FROM programs)
SELECT sampled.run_id, count(*) FILTER (is_answer) AS answers, any_value(tokens) AS tokens, sum(cpu_s) AS seconds,
    list(DISTINCT model ORDER BY model) FILTER (is_answer) AS models,
    count(*) FILTER (is_answer AND sampled.sample <= best.sample) AS found_after
FROM sampled JOIN best USING (run_id) LEFT JOIN spent USING (run_id)
GROUP BY sampled.run_id
"""


def unpack_all(history: Path) -> dict[str, RunFiles]:
    """Import all archives into a history; return the files of each night by its problem."""
    return {name: unpack(recorded.archive(name), LocalBackend(history))[0] for name in recorded.names()}


def facts_of(nights: dict[str, RunFiles], history: Path) -> dict[str, RecordedNight]:
    """Return what tables show of the nights of a history, by problem: each query reads all nights."""
    database = Database(history)
    ends = {row["run_id"]: row for row in database.rows(_ENDS)}
    bests = [row["best"] for row in ends.values()]
    scores = {
        row["program_id"]: row for row in database.rows(_SCORES, [[*bests, *(row["start"] for row in ends.values())]])
    }
    answers = {row["run_id"]: row for row in database.rows(_ANSWERS, [bests])}
    database.close()
    return {name: _facts(ends[files.run_id], scores, answers[files.run_id]) for name, files in nights.items()}


def _facts(ends: dict[str, Any], scores: dict[str, Any], answers: dict[str, Any]) -> RecordedNight:
    start, best = scores[ends["start"]], scores[ends["best"]]
    return RecordedNight(
        run_id=ends["run_id"],
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
        found = facts_of(unpack_all(Path(folder)), Path(folder))
    text = json.dumps({name: facts.model_dump(mode="json") for name, facts in found.items()}, indent=1) + "\n"
    is_new = not recorded.INDEX.exists() or recorded.INDEX.read_text(encoding="utf-8") != text
    if is_new:
        recorded.INDEX.write_text(text, encoding="utf-8")
    return is_new
