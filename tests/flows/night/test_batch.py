"""`--batch`: many generations' prompts in one batch at half price, collected once, whatever dies."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from overnight.tasks.history.database import Database
from overnight.tasks.sample import batch_job
from overnight.testing.fake_provider import Provider, says
from tests.command_server import run_command, start_command
from tests.flows.conftest import Night
from tests.flows.nights import require_replay

pytestmark = pytest.mark.heavy


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
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


def test_prompts_of_several_generations_are_sent_at_once_and_two_nights_give_what_one_would(
    night: Night, provider: Provider, mails: dict[str, Any], tmp_path: Path
):
    night(1, settings=mails)
    assert [len(lines) for lines in provider.batches.sent] == [3], "no more is sent than the night will use"
    files = night(4)
    sent = [len(lines) for lines in provider.batches.sent]
    assert sent == [3, 3, 6, 3], "three prompts a generation; the third and the fourth are a group"
    rows = kept(tmp_path)
    assert len(rows) == 5 * 6
    assert_each_answer_is_there_once(provider, rows)
    half = 15 * (100 * 2.5e-6 + 40 * 1e-5) / 2
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(half)
    assert sum(row["cost_usd"] for row in Database(tmp_path).rows("FROM nights")) == pytest.approx(half)
    require_replay(files, tmp_path / "again")
    assert len(provider.batches.sent) == len(sent), "no batch is sent"


@pytest.mark.prefect
@pytest.mark.usefixtures("processes")
def test_kill_9_costs_no_batch(provider: Provider, mails: dict, toy: Path, tmp_path: Path, prefect_api: str):
    """Killed before the night knows the batch's id."""
    provider.batches.seconds = 2.0
    environment = {**os.environ, "PREFECT_API_URL": prefect_api, "OVERNIGHT_HISTORY": str(tmp_path)}
    model = ["--model", "openai/gpt-4o", "--api-base", provider.api_base, "--batch"]
    more = ["--generations", "2", "--seed", "1", "--set", "sampling.batch_generations=2"]
    is_sent = threading.Event()
    process = start_command(["run", str(toy), *model, *more], environment)

    def created() -> None:
        process.send_signal(signal.SIGKILL)
        is_sent.set()

    provider.batches.created = created
    try:
        assert is_sent.wait(200)
    finally:
        process.kill()
        process.communicate()
    assert ids(tmp_path) == []
    done = run_command(["resume", "last", "--generations", "2"], environment, timeout_s=200)
    assert done.returncode == 0, done.stderr
    assert len(provider.batches.sent) == 1
    assert len(kept(tmp_path)) == 12
    assert_each_answer_is_there_once(provider, kept(tmp_path))


def ids(history: Path) -> list[str]:
    """Of the batches that are known to be under way."""
    return [name for path in history.rglob("*.slip") for name in set(re.findall(r"batch_\d+", path.read_text()))]
