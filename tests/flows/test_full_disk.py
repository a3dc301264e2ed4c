"""A disk that is full, or gone: told in words, nothing committed is lost, and the run goes on once it is there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import flows.search
from flows.cli.main import run
from schemas.errors import ExitCode, HistoryGone
from tasks.history.database import Database
from tests.flows.conftest import Night
from tests.provider import Provider

pytestmark = [pytest.mark.docker, pytest.mark.prefect]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.3 MiB, of which a night wants one free for its answers."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_night_on_a_full_disk_waits_says_so_and_ends_and_the_run_goes_on_when_there_is_room(
    small_disk: Path,
    toy: Path,
    sandbox_image: str,
    prefect: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(flows.search, "_FIRST_WAIT_S", 0.4)
    monkeypatch.setattr(flows.search, "_FULL_DISK_S", 1.0)
    image = ["--set", f"sandbox.image={sandbox_image}"]
    code = run(["run", str(toy), "--generations", "1000", "--seed", "1", "--history", str(small_disk), *image])
    said = capsys.readouterr().err
    assert code == ExitCode.ENVIRONMENT, said
    assert "paused: cannot write" in said
    assert "No space left on device; next attempt in" in said
    assert "unless there is room by" in said
    assert "Free some space" in said
    there = rows(small_disk)
    assert there
    given_up = "FROM generations WHERE state = 'failed' AND place IS NOT NULL"
    assert Database(small_disk).rows(given_up) == [], "no generation is at fault"
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    code = run(["resume", "last", "--generations", "2", "--history", str(small_disk)])
    assert code == ExitCode.DONE, capsys.readouterr().err
    after = rows(small_disk)
    assert after[: len(there)] == there
    assert len(after) == len(there) + 2 * 6
    assert len({row["program_id"] for row in after}) == len(after)


def test_a_night_whose_history_is_taken_away_ends(night: Night, asks: dict, provider: Provider, tmp_path: Path):
    history = tmp_path / "history"
    provider.script = lambda number, _: shutil.rmtree(history, ignore_errors=True) if number == 7 else None
    with pytest.raises(HistoryGone, match=r"run.parquet was removed while the run is under way\nPut .* back"):
        night(1000, settings=asks, history=history)


def rows(history: Path) -> list[dict[str, object]]:
    return Database(history).rows(
        "SELECT program_id, generation, outcome, score, completion FROM programs WHERE generation > 0 "
        'ORDER BY generation, "index"'
    )
