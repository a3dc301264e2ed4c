"""Where programs of other tools' tasks run is chosen by the start program: apart from the evaluator if it can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from overnight.flows.start.create_run import prepare_run
from overnight.flows.start.judging import Asked
from overnight.flows.start.own_process import settle_process
from overnight.flows.start.sandboxes import open_sandboxes
from overnight.schemas.errors import UsageError
from overnight.schemas.objectives import Objectives
from overnight.schemas.problem import Problem
from overnight.tasks.problems.loading.load import load_problem

TASKS = Path(__file__).parents[2] / "task_formats"

pytestmark = pytest.mark.usefixtures("processes")

LOAD = (
    "import importlib.util, sys\n"
    "def load(path):\n"
    "    spec = importlib.util.spec_from_file_location('program', path)\n"
    "    module = importlib.util.module_from_spec(spec)\n"
    "    spec.loader.exec_module(module)\n"
    "    return module\n"
)


def task(folder: Path, evaluate: str, program: str) -> Problem:
    (folder / "evaluator.py").write_text(f"{LOAD}def evaluate(path):\n    {evaluate}\n")
    (folder / "initial_program.py").write_text(program)
    return load_problem(folder)


def chosen(problem: Problem) -> tuple[str, str]:
    """Return where the problem's programs run, and what is said of it."""
    said: list[str] = []
    found, _ = settle_process(problem, seed=1, run_id="test", tell=said.append)
    return found.settings.command.process, said[0]


@pytest.mark.parametrize("name", ["openevolve/line_fit", "openevolve/knapsack", "shinka/cosine", "shinka/change"])
def test_programs_that_an_evaluator_imports_run_in_a_process_of_their_own(name: str):
    problem = load_problem(TASKS / name)
    assert chosen(problem)[0] == "own"


@pytest.mark.parametrize(
    ("evaluate", "program", "reason"),
    [
        ("return {'combined_score': sum(load(path).f())}", "def f():\n    yield 1\n", "generator is not plain data"),
        (
            "return {'combined_score': load(path).f(len)}",
            "def f(size):\n    return size([1])\n",
            "cannot be called with",
        ),
        (
            "given = []\n    load(path).f(given)\n    return {'score': len(given)}",
            "def f(x):\n    x.append(1)\n",
            "scores 0",
        ),
        ("return {'score': len(open(path).read()) * load(path).f()}", "def f():\n    return 1\n", "reads the text"),
        (
            "import inspect\n    return {'score': 'while' not in inspect.getsource(load(path)) and load(path).f()}",
            "def f():\n    return 1\n",
            "reads the text",
        ),
        (
            "import shutil\n    copy = shutil.copy(path, 'copy.py')\n"
            "    return {'score': 'while' not in open(copy).read() and load(copy).f()}",
            "def f():\n    return 1\n",
            "reads the text",
        ),
        (
            "scope = {}\n    exec(open(path).read(), scope)\n    return {'score': scope['f']()}",
            "def f():\n    return 1\n",
            "reads the text",
        ),
        (
            "sys.path.append('.')\n    scope = {}\n    exec('from initial_program import *', scope)\n"
            "    return {'score': scope['f']()}",
            "def f():\n    return 1\n",
            "KeyError: 'f'",
        ),
        (
            "import subprocess\n    return {'score': float(subprocess.check_output([sys.executable, path]))}",
            "print(4)\n",
            "could not convert",
        ),
    ],
    ids=[
        *("returns a generator", "takes a function", "changes its argument", "is read", "is read by inspect"),
        *("is read from a copy", "is run as text", "gives all its names", "is run as a script"),
    ],
)
def test_programs_that_cannot_share_the_evaluator_s_process_with_the_reason(
    evaluate: str, program: str, reason: str, tmp_path: Path
):
    where, said = chosen(task(tmp_path, evaluate, program))
    assert where == "shared"
    assert reason in said


def test_a_metric_that_counts_has_to_be_the_same_too(tmp_path: Path):
    """A script that reads the text is not noticed, unless what it finds counts."""
    evaluate = (
        "import subprocess\n    size = subprocess.check_output(['wc', '-c', path]).split()[0]\n"
        "    return {'combined_score': load(path).f(), 'size': int(size)}"
    )
    problem = task(tmp_path, evaluate, "def f():\n    return 1\n")
    assert chosen(problem)[0] == "own"
    objectives = Objectives(metrics={"size": "minimize"})
    counted = replace(problem, settings=problem.settings.model_copy(update={"objectives": objectives}))
    assert chosen(counted)[0] == "shared"


def test_a_run_keeps_the_choice_and_warns_only_where_scores_can_be_forged():
    path = TASKS / "openevolve/line_fit"
    asked = load_problem(path)
    own = prepare_run(asked, path, Asked(), seed=1)[0].problem
    shared = prepare_run(load_problem(path, {"command": {"process": "shared"}}), path, Asked(), seed=1)[0].problem
    assert [one.settings.command.process for one in (asked, own, shared)] == ["auto", "own", "shared"]
    assert [bool(one.score_warning) for one in (own, shared)] == [False, True]
    assert [one.job().is_isolated for one in (own, shared)] == [True, False]


def test_a_program_that_is_no_python_file_has_no_process_of_its_own():
    path = TASKS / "openevolve/word_count"
    assert chosen(load_problem(path)) == (
        "shared",
        "programs share the evaluator's process: the program is not one Python file",
    )
    with pytest.raises(UsageError, match="one Python file") as refused:
        load_problem(path, {"command": {"process": "own"}})
    assert refused.value.remedy


def test_an_error_of_a_program_is_told_with_its_line(tmp_path: Path):
    problem = task(tmp_path, "return {'combined_score': load(path).f()}", "def f():\n    return 1\n")
    problem, _ = settle_process(problem, seed=1, run_id="test")
    with open_sandboxes(problem, "train", seed=1, run_id="test", programs=1) as pool:
        verdict = pool.evaluate("def f():\n    return 1 / 0\n")
    assert "ZeroDivisionError: division by zero\nin line 2 of the program: return 1 / 0" in verdict.error


def test_a_program_s_function_does_not_take_the_place_of_a_builtin(tmp_path: Path):
    evaluate = (
        "scope = vars(load(path))\n    exec('found = sum(f())', scope)\n"
        "    return {'combined_score': float(scope['found'])}"
    )
    honest = "def f():\n    return [1, 2]\n"
    problem, _ = settle_process(task(tmp_path, evaluate, honest), seed=1, run_id="test")
    assert problem.settings.command.process == "own"
    with open_sandboxes(problem, "train", seed=1, run_id="test", programs=1) as pool:
        assert pool.evaluate(honest + "def sum(values):\n    return 99\n").scores == (3,)


def test_an_evaluator_that_catches_everything_gives_no_score_to_a_program_that_ends_its_process(tmp_path: Path):
    evaluate = "try:\n        return {'score': load(path).f()}\n    except:\n        return {'score': 99}"
    problem, _ = settle_process(task(tmp_path, evaluate, "def f():\n    return 1\n"), seed=1, run_id="test")
    assert problem.settings.command.process == "own"
    with open_sandboxes(problem, "train", seed=1, run_id="test", programs=1) as pool:
        verdict = pool.evaluate("import os\ndef f():\n    os._exit(0)\n")
    assert "the evolved function is lost" in verdict.error
    assert not verdict.is_scored
