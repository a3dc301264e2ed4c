"""A disk that is full: told in words, nothing committed is lost, and the run goes on once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.main import run
from schemas.errors import ExitCode
from tasks.history.database import Database

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


def test_a_night_on_a_full_disk_ends_and_the_run_goes_on_when_there_is_room(
    small_disk: Path, toy: Path, sandbox_image: str, prefect: str, capsys: pytest.CaptureFixture[str]
):
    settings = {"sandbox.image": sandbox_image, "search.retries": 0, "search.failures": 1}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    code = run(["run", str(toy), "--generations", "1000", "--seed", "1", "--history", str(small_disk), *sets])
    said = capsys.readouterr().err
    assert code == ExitCode.ENVIRONMENT, said
    assert "No space left on device" in said
    assert "Free some space" in said
    there = rows(small_disk)
    assert there
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    code = run(["resume", "last", "--generations", "2", "--history", str(small_disk)])
    assert code == ExitCode.DONE, capsys.readouterr().err
    after = rows(small_disk)
    assert after[: len(there)] == there
    assert len(after) == len(there) + 2 * 6
    assert len({row["program_id"] for row in after}) == len(after)


def rows(history: Path) -> list[dict[str, object]]:
    return Database(history).rows(
        "SELECT program_id, generation, outcome, score, completion FROM programs WHERE generation > 0 "
        'ORDER BY generation, "index"'
    )
