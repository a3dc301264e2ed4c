"""Nights whose scoring asks a model: each answer is bought once, whatever is killed, and a replay buys none."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import main_thread
from typing import Any

import pyarrow as pa
import pytest

import overnight.flows.night.retry_policy
from overnight.flows.night.given_starts import create_run_from
from overnight.flows.night.requests import ask
from overnight.flows.start.trust import accept
from overnight.schemas.interventions import Kind
from overnight.tasks.history import archive, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.interventions import new_request
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.night_log import read_log
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.fake_provider import Answer, Provider, Request, says
from overnight.testing.made import run_at
from tests.accidents import copy_as_if_killed, meanwhile, wait_until
from tests.flows.conftest import JUDGED, Night
from tests.flows.night.test_faults import error
from tests.flows.nights import by_prompt, everything, require_replay
from tests.toys import toy_with

pytestmark = pytest.mark.heavy

ASKING = """found = guess(offset)
    return float(funsearch.ask(f"How near is {found} to {10.0 + offset}?"))"""

JUDGE = "openai/judge"

KILLS = [range(2, 22, 8), pytest.param(range(2, 22, 2), marks=pytest.mark.slow)]
"""Numbers of the requests to the provider at which a night is killed."""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The toy problem, of which a model says how near a guess is."""
    return toy_with(tmp_path / "judged/toy.py", score=ASKING)


def answer(number: int, request: Request) -> Answer:
    """An answer that depends on what is asked alone, of a model or of a judge."""
    if request["model"] != "judge":
        return by_prompt(number, request)
    near, _, wanted = request["messages"][-1]["content"].removeprefix("How near is ").rstrip("?").partition(" to ")
    return says(request, str(-abs(float(near) - float(wanted))))


def questions(provider: Provider) -> list[str]:
    """Return the questions that were asked, in order."""
    return [one["messages"][-1]["content"] for one in provider.requests if one["model"] == "judge"]


@pytest.fixture
def settings(asks: dict[str, Any], provider: Provider, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    provider.script = answer
    judge = {"name": JUDGE, "api_base": provider.api_base, "input_usd": 10.0, "output_usd": 0.0}
    models = [asks["sampling"]["models"][0] | {"input_usd": 0.0, "output_usd": 0.0}]
    return {
        "sampling": asks["sampling"] | {"models": models, "judge": judge, "concurrency": 4},
        "search": {"prompts": 4, "samples": 1},
        "sandbox": {"split": True, "confirm": "best"},
    }


@pytest.fixture
def begin(toy: Path, settings: dict[str, Any], sandbox_image: str) -> Callable[..., RunFiles]:
    """Function that begins a run in a history, with its start program scored, and returns its files."""

    def begin(history: Path, *starts: Path, **more: Any) -> RunFiles:
        given = settings | more | {"sandbox": settings["sandbox"] | {"image": sandbox_image, "slots": 1}}
        problem = load_problem(toy, given)
        accept(problem, given)
        return create_run_from(problem, toy, LocalBackend(history), list(map(str, starts)), seed=1, run_id="toy")

    return begin


def test_answers_count_in_every_evaluation_and_are_shown(
    night: Night, settings: dict[str, Any], provider: Provider, tmp_path: Path
):
    files = night(3, history=tmp_path / "history", settings=settings)
    asked = questions(provider)
    assert len(asked) == len(set(asked)), "also by confirmations, and by programs that return the same"
    database = Database(tmp_path / "history")
    rows = database.rows("FROM questions ORDER BY asked_at")
    assert sorted(row["question"] for row in rows) == sorted(asked)
    assert {row["model"] for row in rows} == {JUDGE}
    assert all(row["cost_usd"] == pytest.approx(100 * 10 / 1e6) for row in rows)
    first = database.rows("SELECT program_id FROM programs WHERE generation = 0")[0]["program_id"]
    by_candidates = [row for row in rows if row["generation"] > 0]
    assert all(row["program_id"] not in (None, first) for row in by_candidates)
    spent = database.rows("SELECT sum(cost_usd) AS usd FROM generations")[0]["usd"]
    assert (
        spent == pytest.approx(sum(row["cost_usd"] for row in rows)) == pytest.approx(stored_run.read_spent_usd(files))
    )
    (row,) = database.rows("FROM nights")
    assert row["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in by_candidates))
    require_replay(files, tmp_path / "again")
    assert questions(provider) == asked, "a replay asks nothing"
    archive.pack(files, tmp_path / "run.tar")
    archive.unpack(tmp_path / "run.tar", LocalBackend(tmp_path / "elsewhere"))
    assert Database(tmp_path / "elsewhere").rows("FROM questions ORDER BY asked_at") == rows


def test_a_budget_that_questions_use_up_ends_the_night_and_judges_nothing(
    night: Night, settings: dict[str, Any], provider: Provider, tmp_path: Path
):
    whole = night(3, history=tmp_path / "whole", settings=settings)
    files = night(3, history=tmp_path / "parts", settings=settings, budget_usd=0.0045)
    assert Database(tmp_path / "parts").rows("FROM nights")[0]["stop_reason"] == "budget"
    before = len(questions(provider))
    done = stored_run.read_run_history(files).generations
    assert done < 3
    night(3 - done, history=tmp_path / "parts")
    assert everything(files).keys() == everything(whole).keys()
    scores = [
        Database(one).rows("SELECT body, score, outcome FROM programs ORDER BY generation, index")
        for one in (tmp_path / "whole", tmp_path / "parts")
    ]
    assert scores[0] == scores[1]
    assert len(questions(provider)) > before
    rows = Database(tmp_path / "parts").rows("SELECT key FROM questions")
    assert len({row["key"] for row in rows}) == len(rows) == len(Database(tmp_path / "whole").rows("FROM questions"))


def test_a_judge_that_fails_for_good_leaves_a_night_without_its_final_evaluation(
    night: Night, settings: dict[str, Any], provider: Provider, tmp_path: Path
):
    def fail(number: int, request: Request) -> Answer:
        is_final = request["messages"][-1]["content"].endswith((" to 12.0?", " to 13.0?"))
        return Answer({"error": {"message": "no such key"}}, status=401) if is_final else answer(number, request)

    provider.script = fail
    night(1, settings=settings | JUDGED)
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["stop_reason"] == "generations"
    assert row["finalists"] == []
    provider.script = answer
    night(1)
    assert all(one["held_out"] is not None for one in Database(tmp_path).rows("FROM nights")[1]["finalists"][:1])


def test_a_busy_judge_is_waited_for_and_what_it_refuses_once_stays_refused(
    night: Night, begin: Callable[..., RunFiles], provider: Provider, tmp_path: Path
):
    too_long = error(400, "This model's maximum context length is 10 tokens.")
    replies = iter([*[error(429, "slow down")] * 5, None, None, too_long])

    def busy(number: int, request: Request) -> Answer:
        reply = next(replies, None) if request["model"] == "judge" else None
        return reply or answer(number, request)

    files = begin(tmp_path)
    provider.script = busy
    night(2)
    (row,) = Database(tmp_path).rows("FROM nights")
    assert (row["stop_reason"], row["generations"]) == ("generations", 2)
    assert row["paused_s"] > 0
    assert "RateLimitError: slow down" in row["paused_by"]
    said = questions(provider)
    kept = Database(tmp_path).rows("FROM questions")
    assert len(kept) == len(set(said)) == len(said) - 5, "each is answered or refused once"
    assert [one["answer"] for one in kept].count(None) == 1
    assert Database(tmp_path).rows("FROM programs WHERE outcome = 'sandbox_error'")
    require_replay(files, tmp_path / "again")
    assert questions(provider) == said


def test_a_night_whose_judge_is_gone_judges_nothing_and_the_next_goes_on(
    night: Night, begin: Callable[..., RunFiles], settings: dict[str, Any], tmp_path: Path
):
    def interrupt() -> None:
        wait_until(lambda: sum("paused" in line for _, line in read_log(files)) >= 2)
        signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)

    with Provider(answer) as judge:
        settings["sampling"]["judge"]["api_base"] = judge.api_base
        files = begin(tmp_path)
        asked = len(questions(judge))
        judge.script = lambda number, request: replace(answer(number, request), refuse=True)
        with meanwhile(interrupt), pytest.raises(KeyboardInterrupt):
            night(2)
        assert (files.committed(), len(questions(judge))) == ([0], asked + 1)
        judge.listen_again()
        judge.script = answer
        night(2)
        assert len(questions(judge)) == len(set(questions(judge)))
    row = Database(tmp_path).rows("FROM nights")[0]
    assert (row["stop_reason"], row["samples"]) == ("interrupted", 0)
    assert "openai/judge" in row["paused_by"]
    require_replay(files, tmp_path / "again")


@pytest.mark.parametrize("kills", KILLS, ids=len)
def test_starts_hints_and_a_judge_in_a_night_that_is_killed_many_times(
    night: Night, begin: Callable[..., RunFiles], provider: Provider, toy: Path, kills: range, tmp_path: Path
):
    better = toy_with(toy.with_name("better.py"), score=ASKING, start="return offset + 3.0")
    files = begin(tmp_path, better, **JUDGED)
    begun = len(provider.requests)

    def kill(number: int, request: Request) -> Answer:
        if number - begun == 2:
            ask(files, new_request(Kind.HINT, "try a two-pass scheme", prompts=4))
        if number - begun in kills:
            copy_as_if_killed(tmp_path, tmp_path / f"killed-{number - begun}")
        return answer(number, request)

    provider.script = kill
    night(3)
    provider.script = answer
    assert "hint" in {row["operator"] for row in Database(tmp_path).rows("FROM programs")}
    replayed = list[dict[str, pa.Table]]()
    for number in kills:
        killed = run_at(tmp_path / f"killed-{number}/runs/toy")
        bought = {json.loads(one.text)["question"] for one in stored_run.read_answers(killed)}
        before = len(provider.requests)
        done = stored_run.read_run_history(killed).generations - 1
        night(max(1, 3 - done), history=tmp_path / f"killed-{number}")
        asked = [one for one in provider.requests[before:] if one["model"] == "judge"]
        again = [one["messages"][-1]["content"] for one in asked]
        assert len(again) == len(set(again))
        assert not bought & set(again), "nothing is bought twice"
        (spent,) = Database(tmp_path / f"killed-{number}").rows(
            "SELECT cost_usd, (SELECT sum(cost_usd) FROM nights) AS of_nights, "
            "(SELECT sum(cost_usd) FROM costs WHERE night = 0) AS before FROM runs"
        )
        assert spent["cost_usd"] == pytest.approx(len(bought | set(again)) * 100 * 10 / 1e6)
        assert spent["of_nights"] == pytest.approx(spent["cost_usd"] - spent["before"]), "each answer in one night"
        if (found := everything(killed)) not in replayed:  # most come out alike
            before = len(provider.requests)
            require_replay(killed, tmp_path / f"replayed-{number}")
            assert len(provider.requests) == before
            replayed.append(found)
