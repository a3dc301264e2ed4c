"""A full or removed disk: it is reported, no committed generation is lost, and the run can be resumed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import overnight.flows.night.retry_policy
from overnight.flows.cli.main import run
from overnight.schemas.errors import ExitCode, HistoryGone
from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Provider
from tests.flows.conftest import Night
from tests.in_process import InProcess


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.3 MiB, of which a night requires 1 MiB free for its completions."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_night_on_a_full_disk_pauses_then_ends_and_can_be_resumed_once_there_is_space(
    small_disk: Path,
    toy: Path,
    plain: None,
    in_process: InProcess,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.4)
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FULL_DISK_S", 1.0)
    code = run(["run", str(toy), "--generations", "1000", "--seed", "1", "--history", str(small_disk)])
    stderr = capsys.readouterr().err
    assert code == ExitCode.ENVIRONMENT, stderr
    assert "paused: cannot write" in stderr
    assert "No space left on device; next attempt in" in stderr
    assert "unless there is room by" in stderr
    assert "Free some space" in stderr
    before = rows(small_disk)
    assert before
    given_up = "FROM generations WHERE state = 'given up'"
    assert Database(small_disk).rows(given_up) == [], "no generation is at fault"
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    code = run(["resume", "last", "--generations", "2", "--history", str(small_disk)])
    assert code == ExitCode.DONE, capsys.readouterr().err
    after = rows(small_disk)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2 * 6
    assert len({row["program_id"] for row in after}) == len(after)


def test_a_night_ends_if_its_history_is_removed(night: Night, asks: dict, provider: Provider, tmp_path: Path):
    history = tmp_path / "history"
    provider.script = lambda number, _: shutil.rmtree(history, ignore_errors=True) if number == 7 else None
    with pytest.raises(HistoryGone, match=r"run.parquet was removed while the run is under way\nPut .* back"):
        night(1000, settings=asks, history=history)


def rows(history: Path) -> list[dict[str, object]]:
    return Database(history).rows(
        "SELECT program_id, generation, outcome, score, completion FROM programs WHERE generation > 0 "
        'ORDER BY generation, "index"'
    )
