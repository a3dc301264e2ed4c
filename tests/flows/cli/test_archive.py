"""An exported run is imported into another history and continued there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.history.database import Database
from tests.flows.cli.conftest import Command, call

pytestmark = [pytest.mark.docker, pytest.mark.prefect]


def test_an_exported_run_continues_in_another_history(overnight: Command, tmp_path: Path, prefect_api: str):
    archive, other_history = tmp_path / "night.tar.zst", tmp_path / "there"
    done = overnight("export", "last", "--write", str(archive))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "overnight import night.tar.zst" in done.stderr
    for message in ("imported", "already in the history, with the same content"):
        done = call(["import", str(archive)], other_history)
        assert done.returncode == 0, done.stderr
        assert message in done.stderr
    (before,) = Database(other_history).rows("FROM runs")
    done = call(["resume", "last", "--generations", "1"], other_history, PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    (run,) = Database(other_history).rows("FROM runs")
    assert run["generations"] == before["generations"] + 1
    done = call(["import", str(archive)], other_history)
    assert done.returncode == 2
    assert "with other content" in done.stderr


def test_a_file_that_is_not_an_archive_is_an_error(tmp_path: Path):
    (tmp_path / "x.tar.zst").write_bytes(b"nonsense" * 1000)
    for name, code, remedy in (("x.tar.zst", 1, "overnight export RUN"), ("y.tar.zst", 2, "overnight export")):
        done = call(["import", str(tmp_path / name)], tmp_path / "there")
        assert done.returncode == code
        assert remedy in done.stderr
        assert "Traceback" not in done.stderr
