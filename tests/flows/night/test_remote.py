"""Nights with a history on object storage, on a real S3 server: outages of it, and machines that are killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import overnight.flows.night.retry_policy
from overnight.flows.cli.main import run
from overnight.schemas.errors import ExitCode
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import files_of
from overnight.tasks.history.find_run import find_run
from overnight.tasks.history.night_log import read_log
from overnight.tasks.history.remote.backend import MirroredBackend, open_backend
from overnight.tasks.history.run_lock import run_lock
from tests.accidents import meanwhile, wait_until
from tests.flows.conftest import Night
from tests.in_process import InProcess
from tests.objects import ObjectServer


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.3)


def rows(history: Path) -> list[dict[str, object]]:
    return Database(history).rows("SELECT * FROM programs ORDER BY generation, index")


@pytest.mark.slow
def test_a_night_waits_for_a_store_that_is_down_and_loses_nothing(night: Night, bucket: str, objects: ObjectServer):
    history = open_backend(bucket)
    files = files_of(history, "toy")

    def outage() -> None:
        wait_until(lambda: len(files.committed()) >= 2)
        with objects.down():
            wait_until(lambda: any("the store does not answer" in line for _, line in read_log(files)))

    with meanwhile(outage):
        night(5, history=history)
    ended = Database(history.root).rows("FROM nights")[0]
    assert ended["stop_reason"] == "generations"
    assert ended["paused_s"] > 0
    assert "the store does not answer" in ended["paused_by"]
    assert files.committed() == list(range(6))
    assert all(row["outcome"] != "sandbox_error" for row in rows(history.root))


def test_another_machine_can_continue_a_run_on_a_store(
    toy: Path, plain: None, in_process: InProcess, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.setenv("OVERNIGHT_HISTORY", bucket)
    assert run(["run", str(toy), "--generations", "2", "--seed", "1"]) == ExitCode.DONE
    assert f"--history '{bucket}'" in capsys.readouterr().err, "suggested commands can be copied"
    before = rows(open_backend(bucket).root)
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "elsewhere"))
    with run_lock(find_run(fresh(bucket), "last")):
        assert run(["resume", "last", "--generations", "1"]) == ExitCode.USAGE
        assert "under way in another process" in capsys.readouterr().err
    assert run(["resume", "last", "--generations", "2"]) == ExitCode.DONE
    after = rows(open_backend(bucket).root)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2 * 6
    require_every_command_works(tmp_path, str(after[-1]["program_id"]), capsys)


def require_every_command_works(folder: Path, program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the commands that read a run, and those that create a run from another one, on a fresh copy."""
    assert run(["rescore", "last", "--inputs", "[7]"]) == ExitCode.DONE
    ids = [str(row["run_id"]) for row in Database(fresh(os.environ["OVERNIGHT_HISTORY"]).root).rows("FROM runs")]
    assert len(ids) == 2
    files = [folder / name for name in ("report.html", "all.html", "beside.html", "run.tar.zst")]
    capsys.readouterr()
    for command in (
        ["runs"], ["best", "last"], ["sql", "FROM progress('last')"], ["compact"], ["retry", "last"], ["problems"],
        *(["show", program, *view] for view in ([], ["--diff"], ["--lineage"], ["--why"])),
        ["report", "last", "--write", str(files[0])], ["report", "--all", "--write", str(files[1])],
        ["compare", *ids, "--write", str(files[2])], ["export", "last", "--write", str(files[3])],
    ):  # fmt: skip
        assert run(command) == ExitCode.DONE, (command, capsys.readouterr().err)
    assert all(file.stat().st_size > 1_000 for file in files)


def fresh(url: str) -> MirroredBackend:
    history = open_backend(url)
    history.refresh()
    return history
