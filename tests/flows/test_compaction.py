"""A night compacts what it leaves, and says so where it cannot; the search never waits for it nor fails by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.compaction import Compaction
from tasks.history.compact import FULL, LEFT
from tasks.history.database import Database
from tasks.history.run_lock import run_lock
from tests.flows.cli.conftest import call
from tests.flows.conftest import Night
from tests.history.made import create, grow


def test_a_night_begins_a_compaction_when_there_is_enough_and_ends_with_one(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    compaction = Compaction(files, pytest.fail)
    grow(files, FULL - 2)
    compaction.committed()
    assert len(files.blocks()) == FULL - 1, "too few so far"
    grow(files, 1)
    compaction.committed()
    compaction.close()
    assert [block.size for block in files.blocks()] == [FULL]
    grow(files, LEFT)
    Compaction(files, pytest.fail).close()
    assert [block.size for block in files.blocks()] == [FULL, LEFT]


def test_what_cannot_be_compacted_is_noted_once(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    grow(files, LEFT)
    (files.generation(2) / "programs.parquet").write_bytes(b"nonsense")
    notes: list[str] = []
    compaction = Compaction(files, notes.append)
    compaction.committed()
    compaction.close()
    assert len(notes) == 1
    assert "damaged" in notes[0]
    assert len(files.blocks()) == LEFT + 1


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.prefect
def test_a_run_goes_on_from_what_a_night_compacted(night: Night, tmp_path: Path):
    files = night(LEFT)
    assert [block.size for block in files.blocks()] == [LEFT + 1]
    night(2)
    assert [block.size for block in files.blocks()] == [LEFT + 1, 1, 1]
    (row,) = Database(tmp_path).rows("SELECT generations, samples FROM runs")
    assert row["generations"] == LEFT + 2


def test_the_command_compacts_one_run_or_all_and_leaves_alone_what_is_under_way(tmp_path: Path):
    runs = [create(tmp_path, f"20260101-000{number}-toy-aaaa", prompts=2) for number in range(3)]
    for files in runs:
        grow(files, 2)
    done = call(["compact", runs[0].run_id], tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "merged 3 folders into one" in done.stderr
    with run_lock(runs[1]):
        done = call(["compact"], tmp_path)
        assert done.returncode == 0
        assert "nothing to do" in done.stderr
        assert "skipped: run 20260101-0001-toy-aaaa is under way" in done.stderr
        assert call(["compact", runs[1].run_id], tmp_path).returncode == 2
    assert [len(files.blocks()) for files in runs] == [1, 3, 1]
