"""Write runs, generations and nights to the history; `stored_run.py` reads them back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from overnight.schemas import tables
from overnight.schemas.errors import HistoryError
from overnight.schemas.generation import GenerationRecord, NightRecord, RunRecord, StopReason
from overnight.tasks.history.atomic_files import disk_errors, read_file, write_file, write_folder
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.journal import Journal, readable_completions
from overnight.tasks.history.private_files import open_private
from overnight.tasks.history.rows import (
    Row,
    generation_row,
    night_row,
    population_rows,
    program_row,
    question_row,
    run_row,
)


def create(files: RunFiles, run: RunRecord, *initial: GenerationRecord) -> None:
    """Write a new run: first its initial generations, then its own row, which makes it visible.

    The first of them is generation 0, the start program. After a crash before the row was written, a second call starts
    again.
    """
    if not files.run.exists():
        shutil.rmtree(files.generations, ignore_errors=True)
    for generation in initial:
        commit(files, generation)
    if run.problem.files:
        contents = [{"path": file.path, "content": file.content} for file in run.problem.files]
        _write(files, files.problem_files, tables.FILES, contents)
    if run.origin:
        with disk_errors(files.origin), open_private(files.origin, "wb") as handle:
            handle.write(f"{run.origin}\n".encode("utf-8", "surrogateescape"))
    _write(files, files.run, tables.RUNS, [run_row(run)])


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
        _write(files, files.questions_of(record.number), tables.QUESTIONS, rows)
    programs = [program_row(files.run_id, record, judged) for judged in record.judged]
    generation = generation_row(files.run_id, record, readable_completions(files.journal(record.number)))
    content = {
        "programs": pa.Table.from_pylist(programs, tables.PROGRAMS),
        "population": pa.Table.from_pylist(population_rows(files.run_id, record), tables.POPULATION),
        "generation": pa.Table.from_pylist([generation], tables.GENERATIONS),
    }
    write_folder(files.backend, files.generation(record.number), content)
    Journal(files.journal(record.number), files.backend).discard()


def record_failure(files: RunFiles, record: GenerationRecord) -> None:
    """Write the record of a failed attempt, which is kept apart from the committed generations."""
    path = files.attempt(record.number, record.attempt)
    _write(files, path, tables.GENERATIONS, [generation_row(files.run_id, record)])


def put_off(files: RunFiles, record: GenerationRecord) -> None:
    """Write that a generation whose agent works has its place among all, and is committed later."""
    row = generation_row(files.run_id, replace(record, attempt=0, is_put_off=True))
    _write(files, files.attempt(record.number, 0), tables.GENERATIONS, [row])


def give_up(files: RunFiles, generation: int, place: int) -> None:
    """Mark the last failed attempt at a generation as final; it ended at this place among all generations.

    Raises:
        HistoryError: If no attempt is recorded; number 0 is the place of a session that was put off.
    """
    if not (last := files.failed_attempts(generation)):
        raise HistoryError(f"no attempt at generation {generation} is recorded", remedy="`overnight resume` goes on.")
    path = files.attempt(generation, last)
    row = read_file(path).to_pylist()[0]
    _write(files, path, tables.GENERATIONS, [{**row, "place": place}])


def write_night(files: RunFiles, night: NightRecord) -> None:
    """Write a night's row, and its log wherever the history keeps it; called at its start and again at its end."""
    _write(files, files.night(night.number), tables.NIGHTS, [night_row(files.run_id, night)])
    if files.night_log(night.number).exists():
        files.backend.put_lines(files.night_log(night.number))


def mark_night_interrupted(files: RunFiles) -> None:
    """Write that the current night was interrupted, if its row has no end; quick enough for a signal handler."""
    _change_last_night(files, {"ended_at": datetime.now(UTC), "stop_reason": StopReason.INTERRUPTED.value})


def mark_night_given_up(files: RunFiles, why: str) -> None:
    """Write that nobody goes on with the last night, which died, if its row has no end. Hold the run's lock."""
    _change_last_night(files, {"given_up": why})


def _change_last_night(files: RunFiles, changes: Row) -> None:
    if not (nights := files.nights()):
        return
    row = read_file(nights[-1]).to_pylist()[0]
    if row["ended_at"] is None:
        _write(files, nights[-1], tables.NIGHTS, [row | changes])


def _write(files: RunFiles, path: Path, schema: pa.Schema, rows: list[Row]) -> None:
    write_file(files.backend, path, pa.Table.from_pylist(rows, schema))
