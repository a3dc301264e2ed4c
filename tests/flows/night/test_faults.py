"""Nights in which a provider fails, Prefect's server, the disk or the engine: one of each class of fault.

`tests/contract/test_provider.py` tries all faults of providers, at the requests. In each, no sample is lost, and none
is paid for twice.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import overnight.flows.night.retry_policy
from overnight.flows.cli.main import run
from overnight.schemas.errors import DiskFault, ExitCode, HistoryGone, TerminalProviderError
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.sample import endpoint
from overnight.testing.fake_provider import Answer, Provider, Request, says
from overnight.testing.made import create, run_at
from tests.accidents import meanwhile, wait_until
from tests.engine import PrivateEngine
from tests.flows.conftest import Night
from tests.in_process import InProcess

pytestmark = pytest.mark.heavy


START = "return offset + 1.0"
"""What only the start program says."""

SAMPLES = 2
"""Samples of each of the three prompts of a generation."""


def error(status: int, message: str) -> Answer:
    return Answer({"error": {"message": message}}, status=status)


@pytest.fixture
def fails(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int, Answer], None]:
    """Function that lets the provider give a number of wrong answers, from one of its requests on."""
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)

    def script(first: int, times: int, answer: Answer) -> None:
        def answered(number: int, request: Request) -> Answer:
            texts = [f"def guess_v2(offset):\n    return offset + {number}.{place}" for place in range(SAMPLES)]
            return answer if first <= number < first + times else says(request, *texts)

        provider.script = answered

    return script


def assert_each_answer_is_there_once(history: Path, provider: Provider) -> list[dict[str, Any]]:
    """Require a row for each sample and each paid answer; return the rows."""
    rows = Database(history).rows("FROM programs WHERE generation > 0 ORDER BY generation, index")
    assert len(rows) == 3 * SAMPLES, "no sample is lost"
    paid = Counter(choice["message"]["content"] for answer in provider.responses for choice in answer["choices"])
    assert Counter(row["completion"] for row in rows if row["completion"]) == paid, "none is paid for twice"
    return rows


def test_an_outage_pauses_the_night_which_goes_on_by_itself(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path, fails: Callable[..., None]
):
    fails(0, 8, error(503, "busy"))
    night(1, settings={**asks, "search": {"failures": 3}})
    assert_each_answer_is_there_once(tmp_path, provider)
    assert len(provider.requests) == 8 + 3, "one request for each attempt in the outage, none for each in flight"
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["stop_reason"] == "generations"
    assert "ServiceUnavailableError: busy" in row["paused_by"]
    failed = Database(tmp_path).rows("FROM generations WHERE state = 'failed'")
    assert failed
    assert all("busy" in attempt["error"] for attempt in failed)


def test_a_wrong_key_ends_the_night_and_the_next_goes_on(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path, fails: Callable[..., None]
):
    asks["sampling"]["concurrency"] = 3 * SAMPLES  # a generation
    fails(0, 99, error(401, "bad key"))
    with pytest.raises(TerminalProviderError, match="Check the key of the provider"):
        night(2, settings=asks)
    assert len(provider.requests) <= 3, "none is repeated, and nothing is asked for the next generation"
    fails(0, 0, error(401, ""))
    night(1)
    assert_each_answer_is_there_once(tmp_path, provider)
    reasons = Database(tmp_path).rows("SELECT stop_reason, error FROM nights ORDER BY night")
    assert [row["stop_reason"] for row in reasons] == ["failed", "generations"]
    assert "AuthenticationError: bad key" in reasons[0]["error"]


def test_a_prompt_that_is_refused_is_a_row_that_says_so(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path, fails: Callable[..., None]
):
    fails(1, 1, error(400, "This model's maximum context length is 10 tokens."))
    night(1, settings=asks)
    rows = assert_each_answer_is_there_once(tmp_path, provider)
    refused = [row for row in rows if not row["completion"]]
    assert [row["outcome"] for row in refused] == ["unparsable"] * SAMPLES
    assert all("maximum context length" in row["error"] for row in refused)
    assert len(provider.requests) == 3


def test_a_task_whose_request_meets_a_dead_prefect_server_pauses_the_night_and_uses_up_no_attempt(
    night: Night, in_process: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    refused = iter([httpx.ConnectError("refused")])

    def ask_server(_: object, text: str) -> None:
        if START not in text and (error := next(refused, None)):
            raise error

    in_process.fault = ask_server
    night(1, settings={"search": {"retries": 0, "failures": 1}})
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["stop_reason"] == "generations"
    assert "the Prefect server does not answer" in row["paused_by"]


# A full or removed disk: it is reported, no committed generation is lost, and the run can be resumed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB, of which a night requires 1 MiB free, and 64 KiB more for each answer in flight."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode:
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
    # Whether a write fails first or the look at the disk before a request depends on what is in flight.
    assert re.search(r"paused: .*(No space left on device|no room for further answers).*; next attempt in", stderr)
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


def test_answers_that_find_a_full_disk_wait_in_memory_and_are_used_once_there_is_room(
    small_disk: Path, night: Night, provider: Provider, asks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    filler, probe = small_disk / "filler", RunFiles.probe
    are_sent = threading.Barrier(3, lambda: fill(filler))
    looks = list[int]()

    def script(number: int, request: Request) -> Answer:
        if number < are_sent.parties:
            are_sent.wait(60)
        return says(request, *(f"def guess_v2(offset):\n    return offset + {number}.{k}" for k in range(SAMPLES)))

    def free_after_three_looks(files: RunFiles) -> None:
        if filler.exists() and len(provider.responses) == are_sent.parties:
            looks.append(len(provider.requests))
            if len(looks) > 3:
                filler.unlink()
        probe(files)

    provider.script = script
    monkeypatch.setattr(RunFiles, "probe", free_after_three_looks)
    night(1, settings=asks, history=small_disk)
    assert looks == [3] * 4, "nothing is asked for while the disk is full"
    assert_each_answer_is_there_once(small_disk, provider)
    (row,) = Database(small_disk).rows("FROM nights")
    assert (row["stop_reason"], row["samples"]) == ("generations", 3 * SAMPLES)
    assert "No space left on device" in row["paused_by"]


def test_a_night_that_ends_on_a_full_disk_says_how_many_answers_are_lost(
    small_disk: Path, night: Night, provider: Provider, asks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FULL_DISK_S", 0.0)
    are_sent = threading.Barrier(3, lambda: fill(small_disk / "filler"))

    def script(_: int, request: Request) -> Answer:
        are_sent.wait(60)
        return says(request, *[START] * SAMPLES)

    provider.script = script
    with pytest.raises(DiskFault, match="6 answers that are paid for could not be written and are lost: cannot write"):
        night(1, settings=asks, history=small_disk)
    assert len(provider.requests) == 3


def test_a_history_on_a_read_only_disk_is_refused_and_nothing_is_bought(
    small_disk: Path,
    toy: Path,
    plain: None,
    in_process: InProcess,
    provider: Provider,
    asks: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
):
    create(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    models = ["--model", "openai/test", "--api-base", provider.api_base]
    for command in (["run", str(toy), *models], ["resume", "last"]):
        code = run([*command, "--generations", "1", "--history", str(small_disk)])
        stderr = capsys.readouterr().err
        assert code == ExitCode.ENVIRONMENT, stderr
        assert "Read-only file system\n" in stderr
        assert "--history" in stderr.rpartition("Read-only file system\n")[2], "the remedy"
        assert "Free some space" not in stderr
    assert provider.requests == []


def fill(path: Path) -> None:
    """Write a file that takes all that is left of its disk."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**12))


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


# Loss of the engine: candidates in flight are evaluated once when it is back, and nothing is left


@pytest.mark.docker
def test_a_lost_engine_pauses_the_night_until_it_is_back(
    docker_night: Night,
    engine: PrivateEngine,
    provider: Provider,
    asks: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.5)
    run = tmp_path / "runs/toy"

    def script(number: int, _: Request) -> None:
        if number == 7:  # the first prompt of the third generation has no answer before
            wait_until(lambda: bool(run_at(run).committed()))
            engine.end(signal.SIGKILL)

    def restart() -> None:
        wait_until(lambda: any((run / "attempts").glob("*.parquet")), lambda: "the night has not paused")
        engine.start()

    provider.script = script
    with meanwhile(restart):
        docker_night(4, settings=asks)
    database = Database(tmp_path)
    (row,) = database.rows("FROM nights")
    assert (row["stop_reason"], row["generations"]) == ("generations", 4)
    assert row["paused_s"] >= 0.5
    assert "engine" in row["paused_by"]
    failed = database.rows("FROM generations WHERE state = 'failed'")
    assert failed
    assert all("engine" in attempt["error"] for attempt in failed)
    assert_one_verdict_for_each(database, generations=4)
    assert engine.containers() == []
    assert engine.processes() == []


def assert_one_verdict_for_each(database: Database, *, generations: int) -> None:
    counted = database.rows(
        "SELECT count(*) AS n, count(DISTINCT program_id) AS ids FROM programs WHERE generation > 0"
    )
    assert counted == [{"n": 6 * generations, "ids": 6 * generations}]
    lost = database.rows("SELECT generation, index, error, wall_s FROM programs WHERE outcome = 'sandbox_error'")
    assert lost == [], "all are evaluated once it is back"
