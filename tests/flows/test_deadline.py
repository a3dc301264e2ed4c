"""Deadlines: the generation under way is cut short after the grace period, and committed with its verdicts so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import run
from schemas.outcome import STOPPED_BY_DEADLINE
from tasks.history.database import Database
from tasks.history.journal import Journal
from tasks.history.local_backend import LocalBackend
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
        search = {"prompts": prompts, "samples": 1}
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
        ASLEEP: ("sandbox_error", STOPPED_BY_DEADLINE.error),
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
