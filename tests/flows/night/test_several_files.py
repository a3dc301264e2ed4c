"""A problem in which two files evolve: in the sandbox, over nights, and written as a tree."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.flows.start.sandboxes import open_sandboxes
from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.problem import Problem
from overnight.tasks.evaluate.pool import SandboxPool
from overnight.tasks.history.database import Database
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.evolving_files import EvolvingFiles
from overnight.testing.fake_provider import Answer, Provider, Request, says
from tests.flows.conftest import Call

RIDGE = Path(__file__).parents[2] / "specifications" / "ridge"


def offset(value: float) -> str:
    return f"def offset():\n    return {value}"


def body(x: float, value: float) -> str:
    skeleton = load_problem(RIDGE).specification
    assert isinstance(skeleton, EvolvingFiles)
    return skeleton.join({"position.py": f"x = {x}", "lib/offset.py": offset(value)})


@pytest.fixture
def problem(tmp_path: Path, sandbox_image: str) -> Problem:
    """The example in a copy whose library is a package, with a file of it that does not evolve."""
    folder = Path(shutil.copytree(RIDGE, tmp_path / "ridge"))
    (folder / "lib" / "__init__.py").write_text('"""A package, whose file does not evolve."""\n')
    program = ["position.py", "lib/offset.py"]
    sandbox = {"image": sandbox_image, "slots": 1}
    return load_problem(folder, {"command": {"program": program}, "sandbox": sandbox})


@pytest.fixture
def pool(problem: Problem) -> Iterator[SandboxPool]:
    with open_sandboxes(problem, "train", seed=1, run_id="test") as pool:
        yield pool


@pytest.mark.docker
def test_the_command_and_its_script_find_every_file_at_its_path_and_no_other_files_are_sent(
    problem: Problem, pool: SandboxPool
):
    program = problem.specification.program
    assert pool.evaluate(problem.specification.start_program).scores == (-3.0, -4.0)
    assert pool.evaluate(program(body(1.0, 3.0))).scores == (-1.0, -2.0)
    writes = body(1.0, 3.0).replace("return 3.0", "return open('lib/notes.txt', 'w')")
    assert not pool.evaluate(program(writes)).is_scored, "files that do not evolve are read-only"
    assert pool.evaluate(program(body(4.0, 1.0))).scores == (-0.0, -1.0)
    for other in ("x = 1", ProgramBundle((("position.py", "x = 1"), ("climb.py", "print(9)")))):
        with pytest.raises(ValueError, match="expected"):
            pool.evaluate(other)


ANSWERS = [
    f"Both are small.\n\n**position.py**\n```python\nx = 2.0\n```\n\n`lib/offset.py`:\n```python\n{offset(2.0)}\n```",
    "lib/offset.py\n<<<<<<< SEARCH\n    return 1.0\n=======\n    return 1.5\n>>>>>>> REPLACE",
    "```python\n# position.py\n# EVOLVE-BLOCK-START\nx = 0.5\n# EVOLVE-BLOCK-END\n```",
    "climb.py\n```python\nprint('{\"height\": 99}')\n```",
    "position.py\n```python\nx = 1 / 0\n```",
    "I cannot do better.",
]


def model(number: int, request: Request) -> Answer:
    """Answer a prompt with the next of the texts; after those, seldom with a better position, which is confirmed."""
    x = 2.0 + number / 10 if number % 6 == 0 else 1.9 - number / 100
    step = f"position.py\n```python\nx = {x}\n```"
    text = ANSWERS[number] if number < len(ANSWERS) else step
    return says(request, text)


@pytest.mark.usefixtures("plain")
def test_nights_with_two_evolving_files(
    call: Call, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    provider.script = model
    history = ("--history", tmp_path / "history")
    code, said = call("check", "--without-pace", RIDGE)
    assert code == 0, said
    assert "evolves position.py, lib/offset.py, scored by 'height' of `python3 climb.py {program} {input}`" in said
    assert "confirmed: run again, in a fresh container" in said

    address = ("--model", "openai/test", "--api-base", provider.api_base)
    sets = ["search.samples=1", "search.feedback=2000", "search.prompts=6", "sampling.concurrency=6"]
    flags = [word for text in (*sets, "search.algorithm.islands=1") for word in ("--set", text)]
    code, said = call("run", RIDGE, *address, *flags, "--generations", "1", "--seed", "1", *history)
    assert code == 0, said
    first = provider.requests[0]["messages"][-1]["content"]
    assert "\nlib/offset.py\n```python\ndef offset():\n    return 1.0\n```\n" in first
    assert "climb.py" not in first, "the scoring is not shown"
    database = Database(tmp_path / "history")
    rows = database.rows("SELECT outcome, error, score, body FROM programs WHERE generation = 1")
    by_score = {row["score"]: row["body"] for row in rows if row["score"] is not None}
    assert by_score == {-1.5: body(2.0, 2.0), -3.0: body(1.0, 1.5), -4.0: body(0.5, 1.0)}
    errors = {row["error"] for row in rows if row["outcome"] == "unparsable"}
    assert {error.partition(",")[0] for error in errors} == {
        "'climb.py' is not a file that evolves",
        "no code block below the path of a file",
    }
    (crashed,) = [row for row in rows if row["outcome"] == "crashed"]
    assert "ZeroDivisionError" in crashed["error"]

    code, said = call("resume", "last", "--generations", "2", *history)
    assert code == 0, said
    later = [request["messages"][-1]["content"] for request in provider.requests[len(ANSWERS) :]]
    assert any("What made an earlier version better" in prompt for prompt in later)

    best = database.rows("SELECT program_id, score, body FROM programs ORDER BY score DESC, generation LIMIT 1")[0]
    assert best["score"] > -1.5
    code, said = call("best", "last", *history)
    assert code == 0, said
    assert "# === position.py ===\nx = " in said
    assert "# === lib/offset.py ===\ndef offset():" in said
    code, said = call("show", best["program_id"], "--prompt", *history)
    assert "# === lib/offset.py ===\n" in said
    start = database.rows("SELECT program_id FROM programs WHERE generation = 0")[0]["program_id"]
    code, said = call("show", start, best["program_id"], "--diff", *history)
    assert "-x = 1.0\n+x = " in said
    code, said = call("report", "last", "--write", tmp_path / "report.html", *history)
    assert code == 0, said
    assert "lib/offset.py" in (tmp_path / "report.html").read_text()

    code, said = call("best", "last", "--write", tmp_path / "better", *history)
    assert code == 0, said
    written = {path.relative_to(tmp_path / "better").as_posix() for path in (tmp_path / "better").rglob("*.*")}
    assert written == {"position.py", "lib/offset.py", "lib/notes.txt", "climb.py", "scale.json"}
    position = (tmp_path / "better" / "position.py").read_text()
    assert position.startswith('"""The position on the ridge."""')
    assert "x = 1.0" not in position
    code, said = call("best", "last", "--write", tmp_path / "better", *history)
    assert (code, "exists already" in said) == (2, True)
    assert (tmp_path / "better" / "position.py").read_text() == position
    (tmp_path / "a file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for taken in ("a file", "link"):
        assert call("best", "last", "--unchecked", "--write", tmp_path / taken, *history)[0] == 2
    assert (tmp_path / "a file").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()
