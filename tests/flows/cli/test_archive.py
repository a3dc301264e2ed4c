"""A run that was exported is imported elsewhere, and gone on with there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.history.database import Database
from tests.flows.cli.conftest import Command, call

pytestmark = [pytest.mark.docker, pytest.mark.prefect]


def test_an_exported_run_goes_on_elsewhere(overnight: Command, tmp_path: Path, prefect_api: str):
    archive, there = tmp_path / "night.tar.zst", tmp_path / "there"
    done = overnight("export", "last", "--write", str(archive))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "overnight import night.tar.zst" in done.stderr
    for said in ("taken in", "is there already, the same"):
        done = call(["import", str(archive)], there)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
    (before,) = Database(there).rows("FROM runs")
    done = call(["resume", "last", "--generations", "1"], there, PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    (run,) = Database(there).rows("FROM runs")
    assert run["generations"] == before["generations"] + 1
    done = call(["import", str(archive)], there)
    assert done.returncode == 2
    assert "with other content" in done.stderr


def test_what_is_no_archive_is_told(tmp_path: Path):
    (tmp_path / "x.tar.zst").write_bytes(b"nonsense" * 1000)
    for name, code, remedy in (("x.tar.zst", 1, "overnight export RUN"), ("y.tar.zst", 2, "overnight export")):
        done = call(["import", str(tmp_path / name)], tmp_path / "there")
        assert done.returncode == code
        assert remedy in done.stderr
        assert "Traceback" not in done.stderr
