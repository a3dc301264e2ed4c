"""Compaction during and after a night; errors are reported and never stop the search."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.flows.night.open_run import Compaction
from overnight.tasks.history.compact import MIN_AT_END, MIN_DURING_NIGHT
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import create, grow
from tests.flows.cli.conftest import call


def test_a_compaction_starts_after_enough_generations_and_at_the_end_of_a_night(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    compaction = Compaction(files, pytest.fail)
    grow(files, MIN_DURING_NIGHT - 2)
    compaction.committed()
    assert len(files.blocks()) == MIN_DURING_NIGHT - 1, "too few generations so far"
    grow(files, 1)
    compaction.committed()
    compaction.close()
    assert [block.size for block in files.blocks()] == [MIN_DURING_NIGHT]
    grow(files, MIN_AT_END)
    Compaction(files, pytest.fail).close()
    assert [block.size for block in files.blocks()] == [MIN_DURING_NIGHT, MIN_AT_END]


def test_a_failed_compaction_is_noted_once_and_not_repeated(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    grow(files, MIN_AT_END)
    (files.generation(2) / "programs.parquet").write_bytes(b"nonsense")
    notes: list[str] = []
    compaction = Compaction(files, notes.append)
    compaction.committed()
    compaction.close()
    assert len(notes) == 1
    assert "damaged" in notes[0]
    assert len(files.blocks()) == MIN_AT_END + 1


def test_the_command_compacts_one_run_or_all_except_runs_under_way(tmp_path: Path):
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
