"""An exported run is imported into another history and continued there."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.schemas.completion_source import PendingBatch
from overnight.tasks.history.database import Database
from overnight.tasks.history.journal import PendingBatches
from overnight.testing.made import NOW, create
from tests.flows.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("plain")


def test_an_exported_run_continues_in_another_history(here: Command, overnight: Command, tmp_path: Path):
    archive, other_history = tmp_path / "night.tar.zst", tmp_path / "there"
    done = overnight("export", "last", "--write", str(archive))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "overnight import night.tar.zst" in done.stderr
    for message in ("imported", "already in the history, with the same content"):
        done = here(["import", str(archive)], other_history)
        assert done.returncode == 0, done.stderr
        assert message in done.stderr
    (before,) = Database(other_history).rows("FROM runs")
    done = here(["resume", "last", "--generations", "1"], other_history)
    assert done.returncode == 0, done.stderr
    (run,) = Database(other_history).rows("FROM runs")
    assert run["generations"] == before["generations"] + 1
    done = here(["import", str(archive)], other_history)
    assert done.returncode == 2
    assert "with other content" in done.stderr


def test_an_export_warns_of_batch_jobs_that_it_leaves_out(here: Command, tmp_path: Path):
    files = create(tmp_path / "here")
    pending = PendingBatches(files.directory / "paid", files.backend)
    export = ["export", "last", "--write", str(tmp_path / "run.tar.zst")]
    assert "batch job" not in here(export, tmp_path / "here").stderr

    jobs = [PendingBatch(key, "openai/x", NOW, f"batch_{key}", usd=4.0, tokens=5) for key in ("a", "b")]
    for job in jobs:
        pending.keep(job)
    done = here(export, tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert "warning: 2 pending batch jobs are not in the archive" in done.stderr
    assert f"overnight resume {files.run_id}" in done.stderr
    assert (tmp_path / "run.tar.zst").exists()

    for job in jobs:
        pending.drop(job)
    assert "batch job" not in here(export, tmp_path / "here").stderr


def test_an_export_under_the_name_of_another_compression_is_refused(here: Command, tmp_path: Path):
    files = create(tmp_path / "here")
    done = here(["export", "last", "--write", str(tmp_path / "run.tar.gz")], tmp_path / "here")
    assert done.returncode == 2
    assert f"its name ends in .zst, got {tmp_path / 'run.tar.gz'}" in done.stderr
    assert f"--write {tmp_path / files.run_id}.tar.zst" in done.stderr
    assert not (tmp_path / "run.tar.gz").exists()


def test_an_export_into_a_folder_is_refused(here: Command, tmp_path: Path):
    files = create(tmp_path / "here")
    done = here(["export", "last", "--write", "."], tmp_path / "here")
    assert done.returncode == 2
    assert "--write: expected a file, got the folder ." in done.stderr
    assert f"{files.run_id}.tar.zst" in done.stderr
