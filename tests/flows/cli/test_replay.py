"""`overnight replay`: the repeated history is the same, or the first difference and its likely cause are shown."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.flows.cli.conftest import Command, call

pytestmark = pytest.mark.usefixtures("plain")


def alter(history: Path, column: str, value: object) -> str:
    """Change a column of one scored program in its file, and return the program's id."""
    for path in sorted(history.glob("runs/*/generations/*/programs.parquet")):
        table = pq.read_table(path)
        rows = table.to_pylist()
        scored = [row for row in rows if row["generation"] > 0 and row["score"] is not None]
        if scored:
            scored[0][column] = value
            pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
            return scored[0]["program_id"]
    raise AssertionError("no program was scored")


def test_a_replayed_run_is_the_same_and_leaves_no_files(finished_history: tuple[Path, str], tmp_path: Path):
    done = call(["replay", "last"], finished_history[0], TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.search(r"the start and \d+ generations, \d\d+ programs, without a model: the same history", done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_is_reported(here: Command, finished_history: tuple[Path, str], tmp_path: Path):
    history = tmp_path / "altered"
    shutil.copytree(finished_history[0], history)
    program = alter(history, "score", 0.125)
    done = here(["replay", "last", "--into", str(tmp_path / "again")], history)
    assert done.returncode == 1, done.stderr
    assert "not the same history" in done.stdout
    assert f"program {program}" in done.stdout
    assert "score: 0.125, now " in done.stdout
    assert "likely   image and versions are the same as then" in done.stdout
    assert (tmp_path / "again" / "runs").exists()
    assert "--history" in done.stderr, "the place of the repeated run is printed"
