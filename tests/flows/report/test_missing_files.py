"""Runs of which a file or a folder is gone: nothing is bought for them, and they stand in no other run's way."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from overnight.flows.night.open_run import read_state
from overnight.flows.report.build import build_report
from overnight.flows.report.comparison_data import all_score_curves, score_curves
from overnight.schemas.errors import HistoryError, QueryError
from overnight.tasks.history import stored_run
from overnight.tasks.history.archive import pack
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.winners import best_programs
from overnight.testing.made import create


@pytest.fixture
def files(finished_run: RunFiles) -> RunFiles:
    return finished_run


def history_of(files: RunFiles) -> Path:
    return files.directory.parents[1]


def test_a_run_with_a_gap_is_not_continued(files: RunFiles):
    shutil.rmtree(files.generation(2))
    expected = rf"{re.escape(str(files.generation(3)))} is there, but generation 2 is missing"
    with pytest.raises(HistoryError, match=expected):
        read_state(files, stored_run.read_run(files))


def test_the_next_night_has_a_number_of_its_own_where_an_earlier_one_is_gone(files: RunFiles):
    files.night(1).unlink()
    assert files.last_night() == 2
    assert files.night_numbers() == [2]


@pytest.mark.parametrize(
    "lost",
    ["generations/000002/population.parquet", "generations/000002", "generations", "run.parquet"],
)
def test_a_run_that_could_not_be_imported_is_not_exported(files: RunFiles, tmp_path: Path, lost: str):
    path = files.directory / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(HistoryError):
        pack(files, tmp_path / "night.tar.zst")
    assert not (tmp_path / "night.tar.zst").exists()


def test_a_run_without_generations_is_listed_and_has_no_report(files: RunFiles):
    create(history_of(files), "20260102-2200-toy-bbbb")
    shutil.rmtree(files.generations)
    database = Database(history_of(files))
    assert [curve.run_id for curve in all_score_curves(database)] == ["20260102-2200-toy-bbbb"]
    assert best_programs(database)[files.run_id].train is None
    with pytest.raises(HistoryError, match=f"run {files.run_id} has no generations with a score"):
        score_curves(database, [files.run_id, "20260102-2200-toy-bbbb"])
    with pytest.raises(HistoryError, match="the start program"):
        build_report(database, files)


def test_a_damaged_file_is_to_be_restored(files: RunFiles):
    files.night(1).write_bytes(b"")
    with pytest.raises(QueryError, match=re.escape(files.night(1).name)) as caught:
        Database(history_of(files)).rows("FROM nights")
    assert caught.value.remedy.endswith("or move the folder of its run out of the history.")
