"""Deadlines: the generation under way is cut short after the grace period, and committed with its verdicts so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import flows.search
from flows.cli.main import run
from flows.cutoff import cut_off
from flows.session import open_session
from schemas.outcome import CUT_SHORT
from tasks.history.database import Database
from tasks.history.files import files_of
from tasks.history.journal import Journal
from tasks.history.local_backend import LocalBackend
from tests.accidents import wait_until
from tests.flows.conftest import Night
from tests.provider import Answer, Provider, Request, response_body

CutNight = Callable[[Provider, int], float]

QUICK = "def guess(offset):\n    return offset + 9.0\n"
ASLEEP = "import time\ndef guess(offset):\n    time.sleep(300)\n    return offset + 2.0\n"
NIGHT_S, GRACE_S = 7.0, 10.0


def answering(answers: list[str | None]) -> Provider:
    """Return a provider that answers the prompts with these texts in order, and never answers for None."""

    def script(number: int, request: Request) -> Answer:
        text = answers[number] if number < len(answers) else None
        if text is None:
            return Answer(hang=True)
        message = {"role": "assistant", "content": text}
        return Answer(
            response_body(request, [{"index": 0, "message": message, "finish_reason": "stop"}], "chat.completion")
        )

    return Provider(script)


@pytest.fixture
def cut_night(night: Night, monkeypatch: pytest.MonkeyPatch) -> CutNight:
    """Function that runs a night which a deadline ends in its first generation, and returns its seconds."""
    monkeypatch.setenv("OPENAI_API_KEY", "test")

    def run_night(provider: Provider, prompts: int) -> float:
        sampling = {"models": [{"name": "openai/test", "api_base": provider.api_base}], "batch": 1}
        search = {"prompts": prompts, "samples": 1, "window": prompts}
        # Of two slots, since the candidate that is asleep keeps one until the cut, and may be the first to have it.
        settings = {"sampling": sampling, "search": search, "limits": {"wall_s": 400}, "sandbox": {"slots": 2}}
        begin = time.monotonic()
        night(None, within_s=NIGHT_S, grace_s=GRACE_S, settings=settings)
        return time.monotonic() - begin

    return run_night


@pytest.mark.docker
@pytest.mark.prefect
def test_verdicts_until_the_cut_are_committed_and_a_replay_is_identical(cut_night: CutNight, tmp_path: Path):
    with answering([QUICK, ASLEEP, "no program", None]) as provider:
        assert cut_night(provider, 4) < 100, "a request has 120 s, a candidate 400 s"
    rows = Database(tmp_path).rows("FROM programs WHERE generation = 1")
    found = {row["completion"]: (row["outcome"], row["error"]) for row in rows}
    assert found == {
        QUICK: ("scored", ""),
        ASLEEP: ("sandbox_error", CUT_SHORT.error),
        "no program": ("unparsable", found["no program"][1]),
    }, "the unanswered request has no row"
    assert Database(tmp_path).rows("SELECT stop_reason FROM nights") == [{"stop_reason": "deadline"}]
    assert run(["replay", "last", "--history", str(tmp_path)]) == 0


@pytest.mark.docker
@pytest.mark.prefect
def test_a_generation_without_verdicts_is_not_committed_and_its_completions_are_kept(
    cut_night: CutNight, tmp_path: Path
):
    with answering([ASLEEP, None]) as provider:
        cut_night(provider, 2)
    assert Database(tmp_path).rows("FROM generations WHERE generation > 0") == []
    stored = Journal(tmp_path / "runs/toy/paid/000001.jsonl", LocalBackend(tmp_path)).known()
    assert [completion.text for completion in stored.values()] == [ASLEEP]


@pytest.mark.docker
@pytest.mark.prefect
def test_a_cut_between_two_generations_ends_the_night_without_a_failed_attempt(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The clock, which may be set back, does not matter after the cut."""
    begin = flows.search.generation
    journal = Journal(tmp_path / "runs/toy/paid/000002.jsonl", LocalBackend(tmp_path))

    def interrupted(run_id: str, number: int, history: str) -> object:
        state = begin(run_id, number, history)
        if number == 1:
            wait_until(lambda: bool(journal.known()))
            raise KeyboardInterrupt
        return state

    def cut(run_id: str, number: int, history: str) -> object:
        with open_session(files_of(LocalBackend(Path(history)), run_id)) as session:
            session.cut()
        return begin(run_id, number, history)

    monkeypatch.setattr(flows.search, "generation", interrupted)
    with pytest.raises(KeyboardInterrupt):
        night(5, settings={"search": {"prompts": 2, "samples": 1, "window": 4}})
    assert journal.known(), "the generation under way has completions"
    monkeypatch.setattr(flows.search, "generation", cut)
    until = datetime.now(UTC) + timedelta(seconds=120)
    files = night(5, until=until)
    assert datetime.now(UTC) < until
    assert Database(tmp_path).rows("SELECT stop_reason FROM nights ORDER BY night")[-1:] == [
        {"stop_reason": "deadline"}
    ]
    assert [row["generation"] for row in Database(tmp_path).rows("FROM generations ORDER BY generation")] == [0, 1]
    assert files.failed_attempts(2) == 0


def test_nothing_is_cut_before_the_given_time_or_after_the_block():
    cut = threading.Event()
    with cut_off(datetime.now(UTC) + timedelta(hours=1), cut.set):
        assert not cut.is_set()
    with cut_off(None, cut.set):
        time.sleep(0)
    assert not cut.is_set()
    with cut_off(datetime.now(UTC) - timedelta(hours=1), cut.set):
        assert cut.wait(30)
