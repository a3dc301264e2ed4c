"""`--batch`: many generations' prompts in one batch at half price, collected once, whatever dies."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import flows.night.retry_policy
from tasks.history.database import Database
from tasks.sample import batch_job
from tests.command_server import run_command, start_command
from tests.flows.conftest import Night
from tests.flows.nights import require_replay
from tests.provider import Provider, says

pytestmark = pytest.mark.prefect


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(batch_job, "FIRST_POLL_S", 0.05)


@pytest.fixture
def mails(asks: dict, provider: Provider) -> dict[str, Any]:
    """Settings that send batches of two generations, of three prompts with two samples, to the provider on loopback."""
    provider.script = lambda number, request: says(request, *(program(number, k) for k in range(request.get("n", 1))))
    asks["sampling"]["models"][0] |= {"name": "openai/gpt-4o"}
    asks["sampling"] |= {"batch_api": True, "batch_generations": 2, "max_tokens": 100}
    return {**asks, "sandbox": {"confirm": "never"}}


def program(number: int, place: int) -> str:
    return f"def guess_v2(offset):\n    return offset + {number}.{place}"


def kept(history: Path) -> list[dict[str, Any]]:
    return Database(history).rows("FROM programs WHERE generation > 0 ORDER BY generation, index")


def assert_each_answer_is_there_once(provider: Provider, rows: list[dict[str, Any]]) -> None:
    sold = [choice["message"]["content"] for answer in provider.responses for choice in answer["choices"]]
    assert Counter(row["completion"] for row in rows if row["completion"]) == Counter(sold)


def test_prompts_of_several_generations_are_sent_at_once_and_cost_half(
    night: Night, provider: Provider, mails: dict, tmp_path: Path
):
    night(4, settings=mails)
    rows = kept(tmp_path)
    assert [len(lines) for lines in provider.batches.sent] == [6, 6], "two generations of three prompts each"
    assert len(rows) == 4 * 6
    assert_each_answer_is_there_once(provider, rows)
    full = 12 * (100 * 2.5e-6 + 40 * 1e-5)
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(full / 2)
    assert Database(tmp_path).rows("FROM nights")[0]["cost_usd"] == pytest.approx(full / 2)


def test_two_nights_give_what_one_would(night: Night, provider: Provider, mails: dict, tmp_path: Path):
    night(1, settings=mails)
    assert len(provider.batches.sent[-1]) == 3, "no more is sent than the night will use"
    files = night(3)
    require_replay(files, tmp_path / "again")


def test_lines_that_fail_are_asked_again_or_recorded_as_refused_or_lost_and_a_replay_has_them_too(
    night: Night, provider: Provider, mails: dict, tmp_path: Path
):
    busy = {"response": {"status_code": 500, "body": {"error": {"message": "busy"}}}}
    refused = {"response": {"status_code": 400, "body": {"error": {"message": "against the policy"}}}}
    expired = {"response": None, "error": {"code": "batch_expired", "message": "too late"}}
    never: list[str] = []

    def fault(batch: int, place: int, line: dict) -> dict | None:
        if batch == 0:
            never[:] = never or [line["custom_id"]]
            return {0: busy, 1: busy, 2: refused, 3: expired}.get(place)
        return busy if line["custom_id"] in never else None

    provider.batches.fault = fault
    provider.batches.end = lambda number: "expired" if number == 0 else "completed"
    mails["sampling"]["attempts"] = 3
    files = night(2, settings=mails)
    rows = kept(tmp_path)
    assert [len(lines) for lines in provider.batches.sent] == [6, 3, 1]
    assert_each_answer_is_there_once(provider, rows)
    assert len(rows) == 2 * 6
    errors = Counter(row["error"] for row in rows if not row["completion"])
    assert errors == {"against the policy": 2, "lost: no answer in 3 batches: busy": 2}
    require_replay(files, tmp_path / "again")
    assert len(provider.batches.sent) == 3, "no batch is sent"


def test_a_batch_that_fails_is_tried_again_and_its_reason_is_kept(
    night: Night, provider: Provider, mails: dict, tmp_path: Path
):
    provider.batches.end = lambda number: "failed" if number == 0 else "completed"
    night(2, settings=mails)
    assert len(provider.batches.sent) in (2, 3), "the second generation may ask alone before the first is tried again"
    (row,) = Database(tmp_path).rows("FROM generations WHERE state = 'failed'")
    assert "batch batch_0 failed: this file is no good" in row["error"]
    assert_each_answer_is_there_once(provider, kept(tmp_path))


def test_what_a_batch_may_cost_at_most_is_set_aside_before_it_is_sent(
    night: Night, provider: Provider, mails: dict, tmp_path: Path
):
    budget = 0.005  # a line may cost $0.001 for two answers of 100 tokens, at half price, and $0.0006 for its prompt
    night(9, settings=mails, budget_usd=budget)
    first, *later = provider.batches.sent
    assert len(first) == 3
    assert 0 < len(later) < 20
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["stop_reason"] == "budget"
    assert budget - 0.0017 < row["cost_usd"] <= budget
    rows = kept(tmp_path)
    assert_each_answer_is_there_once(provider, rows)
    assert all(row["completion"] for row in rows), "what is not sent is not lost"


def test_a_batch_outlives_the_night_and_is_collected_by_the_next(
    night: Night, provider: Provider, mails: dict, tmp_path: Path
):
    provider.batches.seconds = 4.0
    night(2, settings=mails, until=datetime.now(UTC) + timedelta(seconds=3))
    assert Database(tmp_path).rows("FROM nights")[0]["stop_reason"] == "deadline"
    assert kept(tmp_path) == []
    night(2)
    assert len(provider.batches.sent) == 1
    assert len(kept(tmp_path)) == 12
    assert_each_answer_is_there_once(provider, kept(tmp_path))
    assert not list(tmp_path.rglob("*.slip"))


@pytest.mark.docker
@pytest.mark.parametrize(
    "moment", [pytest.param("while it is waited for", marks=pytest.mark.slow), "before its id is known"]
)
def test_kill_9_costs_no_batch(
    moment: str, provider: Provider, mails: dict, toy: Path, tmp_path: Path, prefect_api: str
):
    provider.batches.seconds = 2.0
    environment = {**os.environ, "PREFECT_API_URL": prefect_api, "OVERNIGHT_HISTORY": str(tmp_path)}
    model = ["--model", "openai/gpt-4o", "--api-base", provider.api_base, "--batch"]
    more = ["--generations", "2", "--seed", "1", "--set", "sampling.batch_generations=2"]
    is_sent = threading.Event()
    process = start_command(["run", str(toy), *model, *more], environment)

    def created() -> None:
        if moment == "before its id is known":
            process.send_signal(signal.SIGKILL)
        is_sent.set()

    provider.batches.created = created
    try:
        assert is_sent.wait(200)
        until = time.monotonic() + 10
        while process.poll() is None and not ids(tmp_path) and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    assert len(ids(tmp_path)) == (moment == "while it is waited for")
    done = run_command(["resume", "last", "--generations", "2"], environment, timeout_s=200)
    assert done.returncode == 0, done.stderr
    assert len(provider.batches.sent) == 1
    assert len(kept(tmp_path)) == 12
    assert_each_answer_is_there_once(provider, kept(tmp_path))


def ids(history: Path) -> list[str]:
    """Of the batches that are known to be under way."""
    return [name for path in history.rglob("*.slip") for name in set(re.findall(r"batch_\d+", path.read_text()))]
