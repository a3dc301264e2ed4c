"""Runs and archives of a format that this version does not read are refused, with what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overnight.schemas import tables
from overnight.schemas.errors import HistoryError
from overnight.schemas.generation import NightRecord
from overnight.tasks.history import archive, record
from overnight.tasks.history.atomic_files import read_file
from overnight.tasks.history.database import Database
from overnight.tasks.history.local_backend import LocalBackend
from overnight.testing.made import NOW, a_generation, a_judged, an_answer, create, grow

REFUSED = {
    1: ("format 1, and this Overnight reads formats from 2 on", "Use the Overnight before 0.3.0 that wrote it"),
    99: (f"format 99, and this Overnight reads formats up to {tables.FORMAT}", "Use the newer Overnight"),
}


@pytest.mark.parametrize("found", REFUSED)
def test_a_history_with_a_run_of_another_format_is_refused(tmp_path: Path, found: int):
    grow(create(tmp_path), 1)
    database = Database(tmp_path)
    assert len(database.rows("FROM runs")) == 1
    other = create(tmp_path, "20260102-2200-toy-bbbb").run
    pq.write_table(pq.read_table(other).replace_schema_metadata({tables.FORMAT_KEY: str(found)}), other)
    message, remedy = REFUSED[found]
    for read in (lambda: database.rows("FROM runs"), lambda: read_file(other)):
        with pytest.raises(HistoryError, match=message) as error:
            read()
        assert str(other) in error.value.message
        assert remedy in error.value.remedy


@pytest.mark.parametrize("found", REFUSED)
def test_an_archive_of_another_format_is_refused(tmp_path: Path, found: int, monkeypatch: pytest.MonkeyPatch):
    files = create(tmp_path / "history")
    grow(files, 1)
    monkeypatch.setattr(archive, "FORMAT", found)
    archive.pack(files, tmp_path / "run.tar.zst")
    monkeypatch.undo()
    message, remedy = REFUSED[found]
    with pytest.raises(HistoryError, match=f"run.tar.zst has {message}") as error:
        archive.unpack(tmp_path / "run.tar.zst", LocalBackend(tmp_path / "there"))
    assert remedy in error.value.remedy


def test_a_file_without_a_format_number_is_damaged(tmp_path: Path):
    run = create(tmp_path).run
    pq.write_table(pq.read_table(run).replace_schema_metadata(None), run)
    with pytest.raises(HistoryError, match=r"run\.parquet is damaged: it has no format number"):
        read_file(run)


def test_a_column_that_an_older_file_lacks_is_null(tmp_path: Path):
    run = create(tmp_path).run
    pq.write_table(pq.read_table(run).drop_columns(["rescored_from"]), run)
    assert read_file(run).schema.equals(tables.RUNS, check_metadata=True)
    assert read_file(run, columns=["run_id", "rescored_from"]).to_pylist()[0]["rescored_from"] is None
    assert Database(tmp_path).rows("SELECT rescored_from FROM runs") == [{"rescored_from": None}]


def test_an_older_generation_costs_what_its_programs_and_questions_do_in_the_nights_that_asked(tmp_path: Path):
    """A killed night's answers, which a later night committed, are its own; what no program has, of no known one."""
    files = create(tmp_path)
    earlier, later = (a_judged(files.run_id, 1, index, scores=(1.0, 1.0)) for index in range(2))
    asked = replace(later.candidate.completion, asked_at=NOW + timedelta(hours=2))
    later = replace(later, candidate=replace(later.candidate, completion=asked))
    question = replace(an_answer(), asked_at=NOW + timedelta(hours=2))
    record.commit(files, a_generation(1, [earlier, later], earlier.program(), night=2, questions=(question,)))
    path = files.generation(1) / "generation.parquet"
    row = pq.read_table(path).to_pylist()[0] | {"paid": None, "unused_usd": 0.375, "cost_usd": 1.375}
    pq.write_table(pa.Table.from_pylist([row], tables.GENERATIONS), path)
    for number in (1, 2):
        began = NOW + timedelta(hours=number - 2 if number == 1 else 1)
        record.write_night(files, NightRecord(number, began, -9.0, -9.0, ""))
    database = Database(tmp_path)
    found = database.rows("SELECT night, model, purpose, cost_usd FROM costs ORDER BY night, purpose")
    assert [tuple(row.values()) for row in found] == [
        (1, "test/model", "sample", 0.5),
        (2, "test/judge", "question", 0.25),
        (2, "test/model", "sample", 0.5),
        (2, None, "unused", 0.125),
    ]
    assert [row["cost_usd"] for row in database.rows("FROM nights")] == [0.5, 0.875]
    assert database.rows("SELECT cost_usd FROM runs") == [{"cost_usd": 1.375}]
