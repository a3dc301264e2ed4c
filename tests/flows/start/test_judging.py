"""A problem whose scoring asks a model: refused where it cannot, and run by its README's example where it can."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import overnight
from overnight.flows.cli.options import RunOptions
from overnight.flows.start.judging import judge_entry, require_judge
from overnight.flows.start.sandboxes import require_ran
from overnight.schemas.errors import OvernightError, SandboxUnavailable, SpecificationError, UsageError
from overnight.schemas.outcome import QUESTION_REFUSED, Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import Model
from overnight.tasks.history.database import Database
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.fake_provider import Answer, Provider, Request, says
from tests import docs
from tests.flows.conftest import Call
from tests.page_commands import blocks

PAGE = docs.ROOT / "tasks/problems/README.md"

EVALUATE = "import funsearch, json, prog\nprint(json.dumps({'score': len(funsearch.ask(str(prog.guess())))}))\n"


@pytest.fixture
def slogan(tmp_path: Path) -> Path:
    """The example of the README."""
    (text,) = [block for block in blocks(PAGE, "python") if "funsearch.ask" in block]
    path = tmp_path / "slogan.py"
    path.write_text(text)
    return path


@pytest.fixture
def judged(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """A provider that rates slogans by their length, and writes slogans."""

    def answer(_: int, request: Request) -> Answer | None:
        asked = request["messages"][-1]["content"]
        if request["model"] == "judge":
            return says(request, f"I say {len(asked) % 10} of 10.")
        return says(request, f"```python\ndef slogan(product):\n    return 'No {len(asked) % 7} ' + product\n```")

    provider.script = answer
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.api_base)
    return provider


@pytest.mark.parametrize(
    ("mark", "asks"),
    [
        ("import funsearch\n\nfunsearch . ask", True),
        ("from funsearch import ask, run", True),
        ("from funsearch import (\n    run,\n    ask,\n)", True),
        ("from funsearch import ask as question", True),
        ("import re, funsearch as f\n\nf.ask", True),
        ("from funsearch import *\n\nask", True),
        ("from funsearch import *", False),
        ("import funsearch, re as f\n\nf.ask", False),
        ("from funsearch import run  # funsearch.ask", False),
        ('"""Not by funsearch.ask."""', False),
    ],
)
def test_whether_a_scoring_asks_is_read_from_its_code(tmp_path: Path, toy: Path, mark: str, asks: bool):
    (tmp_path / "toy.py").write_text(f"{toy.read_text()}\n\n{mark}\n")
    assert load_problem(tmp_path / "toy.py").asks == asks


def directory(folder: Path, process: str) -> Path:
    folder.mkdir()
    (folder / "prog.py").write_text("def guess():\n    return 1\n")
    (folder / "evaluate.py").write_text(EVALUATE)
    (folder / "overnight.toml").write_text(
        'statement = "x"\n[command]\nprogram = "prog.py"\nevaluate = ["python3", "evaluate.py", "{program}"]\n'
        f'metric = "score"\nprocess = "{process}"\n'
    )
    return folder


def problem_of(path: Path, **settings: Any) -> Problem:
    return load_problem(path, settings)


def test_what_cannot_ask_is_refused_with_the_way_out(slogan: Path, tmp_path: Path):
    judge = {"judge": "openai/judge"}
    refused: list[tuple[type[OvernightError], str, Problem, bool]] = [
        (SpecificationError, "--set sandbox.split=true", problem_of(slogan, sandbox={"split": False}), False),
        (SpecificationError, "--set command.process=own", problem_of(directory(tmp_path / "a", "shared")), False),
        (UsageError, "--judge openai/gpt-5-mini", problem_of(slogan), False),
        (UsageError, "--judge openai/gpt-5-mini", problem_of(directory(tmp_path / "b", "auto")), False),
        (UsageError, "--cluster none", problem_of(slogan, sampling=judge), True),
    ]
    for kind, remedy, problem, on_cluster in refused:
        with pytest.raises(kind, match=re.escape(remedy)):
            require_judge(problem, on_cluster=on_cluster)
    require_judge(problem_of(slogan, sampling=judge))
    require_judge(problem_of(directory(tmp_path / "c", "auto"), sampling=judge))


def test_a_judge_is_asked_at_the_address_of_its_entry_and_never_elsewhere_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tmp_path / "config.toml"
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(config))
    local = "http://127.0.0.1:1/v1"
    of_flag = RunOptions(model=["openai/a=2", "openai/b"], api_base=local, judge="openai/b").settings()
    assert of_flag["sampling"]["judge"] == {"name": "openai/b", "api_base": local}
    with pytest.raises(UsageError, match="the judge openai/gpt is none of them") as refused:
        RunOptions(model=["openai/a"], api_base=local, judge="openai/gpt").settings()
    (proposed,) = re.findall(r"--set '(\S+)'", refused.value.remedy)
    assert RunOptions(model=["openai/a"], api_base=local, set=[proposed]).settings()["sampling"]["judge"] == {
        "name": "openai/gpt"
    }
    priced = {"name": "openai/d", "api_base": local, "input_usd": 1, "output_usd": 2}
    table = ", ".join(f"{name} = {value!r}" for name, value in priced.items())
    config.write_text(f'[sampling]\nmodels = ["openai/c", {{{table}}}]\n')
    assert judge_entry("openai/d", [], None) == priced
    assert judge_entry("openai/c", [], None) == {"name": "openai/c"}
    config.write_text(f"[sampling]\njudge = {{{table}}}\n")
    assert judge_entry("openai/d", [], local) == priced


@pytest.mark.parametrize("given", [{"name": "openai/other"}, "openai/other"])
def test_a_judge_has_no_address_of_another_one(
    slogan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any
):
    config, local = tmp_path / "config.toml", "http://127.0.0.1:1/v1"
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(config))
    config.write_text(
        f'[sampling]\njudge = {{name = "openai/own", api_base = "{local}", input_usd = 1, output_usd = 1}}\n'
    )

    def judge(named: Any) -> Model | None:
        return problem_of(slogan, sampling={"judge": named}).settings.sampling.judge

    assert judge(given) == Model(name="openai/other")
    for own in ("openai/own", {"name": "openai/own"}, {"rpm": 5}):
        found = judge(own)
        assert found is not None
        assert (found.name, found.api_base) == ("openai/own", local)


def test_a_refused_question_is_no_fault_of_the_sandbox():
    with pytest.raises(SpecificationError, match="--judge MODEL"):
        require_ran(QUESTION_REFUSED)
    with pytest.raises(SandboxUnavailable, match="overnight doctor"):
        require_ran(Verdict(Outcome.SANDBOX_ERROR, error="gone"))


def test_commands_refuse_before_anything_is_asked_or_scored(slogan: Path, judged: Provider, call: Call):
    for command in ("check", "run", "audit"):
        code, said = call(command, slogan)
        assert (code, "--judge" in said) == (2, True), said
    named = 'sampling.judge = "openai/judge"\n# sandbox.split = true'
    slogan.write_text(slogan.read_text().replace("sandbox.split = true", named))
    code, said = call("check", "--without-pace", slogan, "--trust-settings")
    assert (code, "Only you can name the model that a scoring asks" in said) == (2, True), said
    assert judged.requests == []


@pytest.mark.heavy
def test_the_example_is_checked_evaluated_and_run(
    slogan: Path, judged: Provider, call: Call, tmp_path: Path, plain: None
):
    code, said = call("check", "--without-pace", slogan, "--judge", "openai/judge", "--sandbox", "process")
    assert "confirmed: run again, in a fresh container, it scores the same" in said
    assert code in (0, 2), said
    asked = [one["messages"][-1]["content"] for one in judged.requests]
    assert len(asked) == len(set(asked)), "each once, in all evaluations of the command"
    verdicts = overnight.evaluate(slogan, sandbox="process", judge="openai/judge")
    assert verdicts["train"].is_scored
    flags = ["--model", "openai/test", "--judge", "openai/judge", "--sandbox", "process", "--generations", 1]
    code, said = call("run", slogan, *flags, "--seed", 1, "--history", tmp_path / "history")
    assert code == 0, said
    (cost,) = Database(tmp_path / "history").rows("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM questions")
    assert cost["n"] == cost["keys"] > 2
    code, said = call("report", "last", "--history", tmp_path / "history", "--write", tmp_path / "report.html")
    assert code == 0, said
    assert f"openai/judge answered {cost['n']} questions of the scoring" in (tmp_path / "report.html").read_text()
