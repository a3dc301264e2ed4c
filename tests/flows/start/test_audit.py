"""An audit finds scorings that can be fooled, and has nothing to say of those that cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from overnight.flows.start.audit import Finding, audit, quick_audit
from overnight.schemas.errors import ExitCode, SandboxUnavailable
from overnight.schemas.objectives import Objectives
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.tasks.history.files import files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.readings import readings_of
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.fake_provider import Answer, Provider
from tests.flows.conftest import Call, Night
from tests.in_process import InProcess

HEAD = '"""Return a number."""\n# /// script\n# [tool.overnight]\n# inputs = [1, 2]\n# ///\nimport funsearch\n\n\n'
EVOLVED = '\n\n@funsearch.evolve\ndef f(n: int) -> float:\n    """A number."""\n    return 2.0 + n\n'
TRUSTING = f"{HEAD}@funsearch.run\ndef evaluate(n):\n    return f(n)\n{EVOLVED}"
CHECKING = f"{HEAD}@funsearch.run\ndef evaluate(n):\n    return -abs(float(f(n)) - n - 2.5)\n{EVOLVED}"
STATEFUL = (
    f"{HEAD}seen = []\n\n\n@funsearch.run\ndef evaluate(n):\n    seen.append(n)\n    return f(n) * len(seen)\n{EVOLVED}"
)
CHANCE = (
    f"{HEAD}import random\n\n\n@funsearch.run\ndef evaluate(n):\n    return -abs(f(n)) - random.random()\n{EVOLVED}"
)

Load = Callable[[str], Problem]


@pytest.fixture
def load(tmp_path: Path, in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> Load:
    from overnight.flows.start import audit as module

    monkeypatch.setattr(module, "_endless", lambda *_: Finding("a program that does not end", "timed_out"))

    def load(text: str) -> Problem:
        (tmp_path / "problem.py").write_text(text)
        return load_problem(tmp_path / "problem.py")

    return load


def tried(problem: Problem, body: str = "", name: str = "the start program") -> dict[str, Finding]:
    found = audit(problem, body or problem.specification.start_body, name, seed=1, note=lambda _: None)
    return {one.tried: one for one in found}


def test_a_scoring_that_trusts_what_it_is_given_is_found_by_the_quick_part(load: Load):
    start = Verdict(Outcome.SCORED, (3.0, 4.0), input_wall_s=(0.1, 0.1))
    found = {one.tried: one for one in quick_audit(load(TRUSTING), start)}
    assert "a program that returns its argument n" in found
    slow = quick_audit(load(TRUSTING), replace(start, input_wall_s=(2.0, 0.1)))
    assert "a program that returns its argument n" not in {one.tried for one in slow}
    assert found["a program that returns a large number"].result == "look"
    assert found["a program that returns nothing"].result == "ok"


def test_where_a_front_is_searched_a_high_score_is_no_sign_by_itself(load: Load):
    problem = load(TRUSTING)
    objectives = Objectives(metrics={"seconds": "minimize"}, preference="pareto")
    problem = replace(problem, settings=problem.settings.model_copy(update={"objectives": objectives}))
    start = Verdict(Outcome.SCORED, (3.0, 4.0), input_wall_s=(0.1, 0.1))
    found = {one.tried: one for one in quick_audit(problem, start)}
    assert found["a program that returns a large number"].result == "note"


def test_of_a_winner_it_is_wrong(load: Load):
    found = tried(load(TRUSTING), "return 3.0 + n", "the best program")
    assert found["a program that returns a large number"].result == "wrong"
    assert "the best program" in found["a program that returns a large number"].remark


def test_where_a_search_begins_without_a_program_those_that_do_no_work_are_tried(load: Load):
    problem = load(TRUSTING.replace("return 2.0 + n", "..."))
    known = problem.settings.known.model_copy(update={"best": 100.0})
    problem = replace(problem, settings=problem.settings.model_copy(update={"known": known}))
    found = tried(problem)
    assert found["a search that begins without a program"].result == "ok"
    assert found["a program that returns a large number"].result == "wrong"
    assert "best known score" in found["a program that returns a large number"].remark
    assert found["a program that returns its argument n"].result == "note"


def test_a_scoring_that_looks_has_nothing_against_it(load: Load):
    found = tried(load(CHECKING), "return 2.25 + n", "the best program")
    assert {one.result for one in found.values()} <= {"ok", "note"}


def test_scores_that_depend_on_the_order_of_inputs_or_on_chance_are_found(load: Load):
    assert tried(load(STATEFUL))["the start program with its inputs in another order"].result == "look"
    assert tried(load(CHANCE))["the start program with another seed"].result == "look"


def test_a_program_that_can_remember_is_told_of(load: Load):
    found = tried(load(CHECKING))["memory"]
    assert "a program can remember" in found.came
    assert found.remark == "confirmations forget it"


def test_a_winner_whose_parts_do_nothing_is_looked_at(load: Load):
    idle = "a = 1 + 2\nif a > 5:\n    a = 3 * 4\nb = a - 7\nreturn 2.25 + n"
    found = tried(load(CHECKING), idle, "the best program")["the best program with one part turned around"]
    assert found.result == "look"
    assert "such as with" in found.remark


def test_a_run_is_audited_and_a_second_reader_is_kept_and_reported(
    night: Night, load: Load, call: Call, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "doubtful\nLine 2 is <odd>."},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    provider.script = lambda *_: Answer({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})
    night(2)
    flags = ("--model", "openai/test", "--api-base", provider.api_base, "--history", tmp_path)
    code, said = call("audit", "toy", *flags, "--format", "json")
    assert code in (0, 2)
    data = json.loads(said[said.index("{\n") if "{\n" in said else said.index("{") : said.rindex("}") + 1])
    assert data["reading"].startswith("doubtful")
    asked = provider.requests[-1]["messages"]
    assert "exploit" in asked[0]["content"]
    assert "def evaluate" in asked[1]["content"]
    (reading,) = readings_of(files_of(LocalBackend(tmp_path), "toy"))
    assert reading.words.startswith("doubtful")
    code, said = call("report", "toy", "--history", tmp_path, "--write", tmp_path / "r.html")
    assert code == 0, said
    page = (tmp_path / "r.html").read_text()
    assert "Line 2 is &lt;odd&gt;." in page
    assert "a model's words" in page


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), SandboxUnavailable("the machine is too busy")])
def test_an_audit_that_is_cut_short_shows_what_was_tried(
    load: Load, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: BaseException
):
    load(TRUSTING)
    monkeypatch.setattr("overnight.flows.start.audit._endless", Mock(side_effect=fault))
    code, said = call("audit", tmp_path / "problem.py")
    assert code == (ExitCode.INTERRUPTED if isinstance(fault, KeyboardInterrupt) else ExitCode.ENVIRONMENT)
    assert "look: a program that returns a large number\n" in said
    assert "more than the start program's 3.5" in said, "the table"
    assert re.search(r"cut short after \d+ trials, \d of them to be looked at", said)


def test_a_model_cannot_read_a_problem(call: Call):
    code, said = call("audit", "cap-set", "--model", "openai/test")
    assert code == 2
    assert "overnight audit last --model openai/test" in said
