"""Scored programs of a run as they are seen from Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overnight.schemas.history_backend import HistoryBackend
    from overnight.tasks.history.database import Database


@dataclass(frozen=True)
class Program:
    """A scored program of a run.

    Attributes:
        id: Its id, unique in the history.
        score: Its score on the training inputs, reduced to one number; higher is better.
        scores: Its score on each training input, in order.
        code: The evolved functions, or the text of the files that evolve.
        validation: Its score on the validation inputs; None if it was not evaluated on them, or fails there.
        held_out: Its score on the held-out inputs; None likewise.
        as_found: The program before what no score needs was left out of it; None if nothing was.
        lengths: Its lines and nodes, as it was found and as they are, in words; empty if nothing was left out.
    """

    id: str
    score: float
    scores: tuple[float, ...]
    code: str = field(repr=False)
    validation: float | None = None
    held_out: float | None = None
    as_found: Program | None = field(default=None, repr=False)
    lengths: str = ""


_PROGRAM = """
SELECT body, score, scores, operator, parent_ids FROM programs
WHERE run_id = ? AND program_id = ? AND score IS NOT NULL
"""


def read_program(backend: HistoryBackend, database: Database, run_id: str, program_id: str) -> Program:
    """Return a scored program of a run, with its scores on the other splits if it took part in a final evaluation."""
    from overnight.schemas.errors import UsageError
    from overnight.schemas.program import pruned_from
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.files import files_of
    from overnight.tasks.history.winners import scores_of
    from overnight.tasks.tune.pruning import lengths

    rows = database.rows(_PROGRAM, [run_id, program_id])
    if not rows:
        raise UsageError(
            f"{run_id} has no scored program {program_id!r}",
            remedy="List them with: run.sql(\"SELECT program_id FROM programs WHERE outcome = 'scored'\")",
        )
    problem = stored_run.read_run(files_of(backend, run_id)).problem
    splits = scores_of(database, run_id, program_id)
    original = pruned_from(rows[0]["operator"], rows[0]["parent_ids"])
    before = database.rows(_PROGRAM, [run_id, original])
    return Program(
        id=program_id,
        score=rows[0]["score"],
        scores=tuple(rows[0]["scores"]),
        code=problem.specification.function_text(rows[0]["body"]),
        validation=splits.validation,
        held_out=splits.held_out,
        as_found=read_program(backend, database, run_id, original) if before else None,
        lengths=lengths(problem.specification, before[0]["body"], rows[0]["body"]) if before else "",
    )
