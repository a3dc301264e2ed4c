"""A run with a damaged file in a history of several: the other runs are read, and nothing is spent blindly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from overnight.schemas.errors import ExitCode
from overnight.testing.made import create, grow
from tests.flows.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("plain", "without_charts")


@pytest.fixture
def history(finished_history: tuple[Path, str], tmp_path: Path) -> Path:
    """A history whose last run is whole, and whose first one has damaged files."""
    copy = tmp_path / "history"
    shutil.copytree(finished_history[0], copy)
    files = create(copy)
    grow(files, 2)
    for path in files.directory.rglob("*.parquet"):
        path.write_bytes(b"PAR1")
    return copy


def test_what_reads_all_runs_says_what_to_do(here: Command, history: Path):
    done = here(["runs"], history)
    assert done.returncode != ExitCode.DONE
    assert ".parquet" in done.stderr
    assert "or move the folder of its run out of the history" in done.stderr


def test_a_report_reads_its_own_run_alone(here: Command, history: Path, finished_history: tuple[Path, str]):
    page = history / "page.html"
    done = here(["report", finished_history[1], "--write", str(page)], history)
    assert done.returncode == ExitCode.DONE, done.stderr
    assert page.exists()


def test_all_other_runs_are_compacted(here: Command, history: Path, finished_history: tuple[Path, str]):
    done = here(["compact"], history)
    assert done.returncode != ExitCode.DONE
    assert f"{finished_history[1]}: merged" in done.stderr
    assert "skipped: " in done.stderr


def test_a_budget_of_a_day_that_cannot_be_counted_begins_no_run(here: Command, history: Path, toy: Path):
    before = set(history.glob("runs/*"))
    done = here(["run", str(toy), "--model", "builtin/mutate", "--generations", "1", "--day-budget", "1"], history)
    assert done.returncode != ExitCode.DONE
    assert ".parquet" in done.stderr
    assert set(history.glob("runs/*")) == before
