"""Write runs, generations and nights to the history; `stored_run.py` reads them back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from overnight.schemas import tables
from overnight.schemas.errors import HistoryError
from overnight.schemas.generation import (
    GenerationRecord,
    NightRecord,
    RunRecord,
    StopReason,
)
from overnight.tasks.history.atomic_files import (
    disk_errors,
    read_file,
    write_file,
    write_folder,
)
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.journal import Journal
from overnight.tasks.history.private_files import open_private
from overnight.tasks.history.rows import (
    generation_row,
    night_row,
    population_rows,
    program_row,
    question_row,
    run_row,
)

_MAX_ORIGIN_BYTES = 8192
"""Limit on the length of the problem's path."""


def create(files: RunFiles, run: RunRecord, *initial: GenerationRecord) -> None:
    """Write a new run: first its initial generations, then its own row, which makes it visible.

    After a crash before the row was written, a second call starts again.

    Args:
        files: Files of the run.
        run: Record of the run.
        initial: Generation 0, the start program, and any others that exist before the search begins.
    """
    files.remove_incomplete_creation()
    for generation in initial:
        commit(files, generation)
    if run.problem.files:
        contents = [{"path": file.path, "content": file.content} for file in run.problem.files]
        write_file(files.backend, files.problem_files, _table(tables.FILES, contents))
    if run.origin:
        with disk_errors(files.origin), open_private(files.origin, "wb") as handle:
            handle.write(f"{run.origin}\n".encode("utf-8", "surrogateescape"))
    write_file(files.backend, files.run, _table(tables.RUNS, [run_row(run)]))


def commit(files: RunFiles, record: GenerationRecord) -> None:
    """Commit a generation by one rename, and remove its journal.

    Raises:
        HistoryError: If it is committed already.
    """
    if record.number in files.committed():
        raise HistoryError(
            f"{files.generation(record.number)} is committed already", remedy="`overnight resume` goes on after it."
        )
    if record.questions:  # first: a committed generation never lacks them, and without it they are still in its journal
        rows = [question_row(files.run_id, record.number, one) for one in record.questions]
        write_file(files.backend, files.questions_of(record.number), _table(tables.QUESTIONS, rows))
    write_folder(
        files.backend,
        files.generation(record.number),
        {
            "programs": _table(
                tables.PROGRAMS, [program_row(files.run_id, record, judged) for judged in record.judged]
            ),
            "population": _table(tables.POPULATION, population_rows(files.run_id, record)),
            "generation": _table(tables.GENERATIONS, [generation_row(files.run_id, record)]),
        },
    )
    Journal(files.journal(record.number), files.backend).discard()


def record_failure(files: RunFiles, record: GenerationRecord) -> None:
    """Write the record of a failed attempt, which is kept apart from the committed generations."""
    write_file(
        files.backend,
        files.attempt(record.number, record.attempt),
        _table(tables.GENERATIONS, [generation_row(files.run_id, record)]),
    )


def give_up(files: RunFiles, generation: int, place: int) -> None:
    """Mark the last failed attempt at a generation as final.

    Args:
        files: Files of the run.
        generation: Number of the generation.
        place: Position at which it ended, among all generations.
    """
    path = files.attempt(generation, files.failed_attempts(generation))
    row = read_file(path).to_pylist()[0]
    write_file(files.backend, path, _table(tables.GENERATIONS, [{**row, "place": place}]))


def write_night(files: RunFiles, night: NightRecord) -> None:
    """Write a night's row, and its log wherever the history keeps it; called at its start and again at its end."""
    write_file(files.backend, files.night(night.number), _table(tables.NIGHTS, [night_row(files.run_id, night)]))
    if files.night_log(night.number).exists():
        files.backend.put_lines(files.night_log(night.number))


def mark_night_interrupted(files: RunFiles) -> None:
    """Write that the current night was interrupted, if its row has no end; quick enough for a signal handler."""
    if not (nights := files.nights()):
        return
    row = read_file(nights[-1]).to_pylist()[0]
    if row["ended_at"] is None:
        row |= {"ended_at": datetime.now(UTC), "stop_reason": StopReason.INTERRUPTED.value}
        write_file(files.backend, nights[-1], _table(tables.NIGHTS, [row]))


def _table(schema: pa.Schema, content: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(content), schema=schema)
