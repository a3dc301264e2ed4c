"""Nights whose scoring asks a model: each answer is bought once, whatever is killed, and a replay buys none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.night.given_starts import create_run_from
from overnight.flows.night.requests import ask
from overnight.flows.start.trust import accept
from overnight.schemas.interventions import Kind
from overnight.tasks.history import archive, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import files_of
from overnight.tasks.history.interventions import new_request
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.fake_provider import Answer, Provider, Request, says
from tests.accidents import copy_as_if_killed
from tests.flows.conftest import JUDGED, Night
from tests.flows.night.test_feedback import by_prompt
from tests.flows.nights import everything, require_replay

pytestmark = pytest.mark.heavy

SCORE = "return -abs(guess(offset) - 10.0 - offset)"
ASKING = """found = guess(offset)
    return float(funsearch.ask(f"How near is {found} to {10.0 + offset}?"))"""

JUDGE = "openai/judge"

KILLS = range(3, 33, 3)
"""Numbers of the requests to the provider at which a night is killed."""


@pytest.fixture
def toy(toy: Path, tmp_path: Path) -> Path:
    """The toy problem, of which a model says how near a guess is."""
    copy = tmp_path / "judged" / "toy.py"
    copy.parent.mkdir()
    copy.write_text(toy.read_text().replace(SCORE, ASKING))
    return copy


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
def settings(asks: dict[str, Any], provider: Provider) -> dict[str, Any]:
    provider.script = answer
    judge = {"name": JUDGE, "api_base": provider.api_base, "input_usd": 10.0, "output_usd": 0.0}
    models = [asks["sampling"]["models"][0] | {"input_usd": 0.0, "output_usd": 0.0}]
    return {
        "sampling": asks["sampling"] | {"models": models, "judge": judge, "concurrency": 4},
        "search": {"prompts": 4, "samples": 1},
        "sandbox": {"split": True, "confirm": "best"},
    }


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


def test_starts_hints_and_a_judge_in_a_night_that_is_killed_ten_times(
    night: Night, settings: dict[str, Any], provider: Provider, toy: Path, tmp_path: Path, sandbox_image: str
):
    better = toy.with_name("better.py")
    better.write_text(toy.read_text().replace("offset + 1.0", "offset + 3.0"))
    given = settings | JUDGED
    given["sandbox"] = settings["sandbox"] | {"image": sandbox_image, "slots": 1}
    problem = load_problem(toy, given)
    accept(problem, given)
    files = create_run_from(problem, toy, LocalBackend(tmp_path), [str(better)], seed=1, run_id="toy")
    begun = len(provider.requests)

    def kill(number: int, request: Request) -> Answer:
        if number - begun == 2:
            ask(files, new_request(Kind.HINT, "try a two-pass scheme", prompts=4))
        if number - begun in KILLS:
            copy_as_if_killed(tmp_path, tmp_path / f"killed-{number - begun}")
        return answer(number, request)

    provider.script = kill
    night(5)
    provider.script = answer
    assert "hint" in {row["operator"] for row in Database(tmp_path).rows("FROM programs")}
    for number in KILLS:
        killed = files_of(LocalBackend(tmp_path / f"killed-{number}"), files.run_id)
        bought = {json.loads(one.text)["question"] for one in stored_run.read_answers(killed)}
        before = len(provider.requests)
        done = stored_run.read_run_history(killed).generations - 1
        night(max(1, 5 - done), history=tmp_path / f"killed-{number}")
        asked = [one for one in provider.requests[before:] if one["model"] == "judge"]
        again = [one["messages"][-1]["content"] for one in asked]
        assert len(again) == len(set(again))
        assert not bought & set(again), "nothing is bought twice"
        before = len(provider.requests)
        require_replay(killed, tmp_path / f"replayed-{number}")
        assert len(provider.requests) == before
