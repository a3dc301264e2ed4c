"""The best program of a run, for all that name one: the view `winners` says which."""

from __future__ import annotations

from overnight.schemas.generation import NightRecord, RunHistory
from overnight.schemas.program import Program
from overnight.schemas.report_rows import SplitScores
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.stored_run import read_night

_ALL = """
SELECT run_id, program_id, train, validation, held_out FROM runs LEFT JOIN (
    FROM winners QUALIFY night = max(night) OVER (PARTITION BY run_id)
) USING (run_id)
"""
_ONE = "SELECT program_id, chosen_in FROM winners WHERE run_id = ? ORDER BY night DESC LIMIT 1"
_FINALIST = """
SELECT unnest(list_filter(finalists, lambda one: one.program_id = $2)[1]) FROM nights
WHERE run_id = $1 AND list_contains(finalists.apply(lambda one: one.program_id), $2) ORDER BY night DESC LIMIT 1
"""
_TRAIN = "SELECT program_id, score AS train FROM programs WHERE run_id = ? AND program_id = ?"


def best_programs(database: Database) -> dict[str, SplitScores]:
    """Return the best program of each run of the history, with its scores; without a score, its id is None, too."""
    return {row.pop("run_id"): SplitScores(**row) for row in database.rows(_ALL)}


def best_program(files: RunFiles, past: RunHistory) -> tuple[Program, NightRecord | None]:
    """Return the best program of a run, and the night whose final evaluation chose it; `None` if that was none.

    Where no program has a score, it is the start program.
    """
    (row,) = Database(files.backend.root, files.run_id).rows(_ONE, [files.run_id])
    best = past.programs.get(row["program_id"], past.start)
    return best, read_night(files, row["chosen_in"], past.programs) if row["chosen_in"] else None


def scores_of(database: Database, run_id: str, program_id: str) -> SplitScores:
    """Return a program's scores on the splits, from the last final evaluation in which it took part."""
    asked = [run_id, program_id]
    (row,) = database.rows(_FINALIST, asked) or database.rows(_TRAIN, asked)
    return SplitScores(**row)
