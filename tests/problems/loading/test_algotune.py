"""Tasks of AlgoTune: a small one in their form, read as data, and measured beside its own method in the sandbox."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from overnight.flows.start.sandboxes import image_of, open_sandboxes
from overnight.schemas.errors import SpecificationError
from overnight.schemas.job import Call
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.problems import loading
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.stored_problem import changed_since

TASK = '''
import numpy as np

from AlgoTuneTasks.base import Task, register_task


@register_task("sums")
class Sums(Task):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.step = 1

    def generate_problem(self, n: int, random_seed: int = 1) -> dict:
        return {"values": np.random.default_rng(random_seed).integers(0, 9, 20 * n)}

    def solve(self, problem: dict):
        """Add up."""
        total = 0
        for value in problem["values"].tolist()[:: self.step] * 100:  # one by one
            total += value
        return {"sum": total}

    def is_solution(self, problem, solution) -> bool:
        return solution.get("sum") == 100 * int(problem["values"].sum())
'''


def write(clone: Path, task: str = TASK, *, size: int | None = 4, description: str | None = "Add the values.") -> Path:
    """Write a clone with one task, and return the task's folder."""
    folder = clone / "AlgoTuneTasks/sums"
    folder.mkdir(parents=True)
    (folder / "sums.py").write_text(task)
    if description is not None:
        (folder / "description.txt").write_text(description)
    if size is not None:
        (clone / "reports").mkdir()
        (clone / "reports/generation.json").write_text(json.dumps({"sums": {"n": size}}))
    return folder


def test_the_reference_is_the_start_program_and_its_check_is_told(tmp_path: Path):
    path = write(tmp_path)
    problem = load_problem(path)
    assert problem.specification.evolved_parts == "`solve(problem)`"
    assert problem.specification.start_body.splitlines()[:3] == [
        "self = reference",
        "total = 0",
        'for value in problem["values"].tolist()[:: self.step] * 100:  # one by one',
    ]
    assert problem.settings.statement.startswith("Add the values.")
    assert "100 * int(problem[" in problem.settings.statement
    assert problem.job().isolation is not None, "the solver is in a process of its own"
    assert changed_since(problem, path) == []
    (path / "description.txt").write_text("Multiply the values.")
    assert changed_since(problem, path) == ["description.txt"]


def test_the_size_is_that_of_the_clone_or_has_to_be_named(tmp_path: Path):
    problem = load_problem(write(tmp_path / "clone"))
    assert problem.inputs["train"] == (Call((4, 1)), Call((4, 2)))
    assert problem.inputs["held_out"] == (Call((4, 101)),)
    alone = write(tmp_path / "copied", size=None)
    with pytest.raises(SpecificationError, match="no size of problems") as caught:
        load_problem(alone)
    assert "--inputs '[[100, 1], [100, 2]]'" in caught.value.remedy
    assert load_problem(alone, {"inputs": [[9, 1]]}).inputs["train"] == (Call((9, 1)),)


def test_packages_that_the_task_imports_are_dependencies(tmp_path: Path):
    imports = "import math, cvxpy as cp\nfrom sklearn import svm\nimport AlgoTuner.utils.x\nSOLVER = 'ECOS'\n"
    assert load_problem(write(tmp_path, imports + TASK)).dependencies.packages == ("cvxpy", "ecos", "scikit-learn")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (TASK.replace("def is_solution", "def is_right"), "`Sums` lacks is_solution"),
        (TASK.replace("(Task)", "(Task"), "sums.py:"),
        (TASK + TASK.replace('"sums"', '"others"'), "2 classes have @register_task(…), expected one"),
        (TASK.replace("@register_task", "# @register_task"), "0 classes have"),
        (TASK.replace("@register_task(", "@"), "no command that scores"),
    ],
    ids=["a method is missing", "no Python", "two tasks", "only a comment", "no task"],
)
def test_what_is_wrong_or_missing_is_refused_with_the_reason(task: str, message: str, tmp_path: Path):
    with pytest.raises(SpecificationError) as caught:
        load_problem(write(tmp_path, task))
    assert message in str(caught.value)
    assert caught.value.remedy


def test_a_task_without_its_description_and_sizes_that_are_no_json_are_refused(tmp_path: Path):
    with pytest.raises(SpecificationError) as caught:
        load_problem(write(tmp_path / "a", description=None))
    assert "sums.py looks like a task of AlgoTune" in caught.value.remedy
    path = write(tmp_path / "b")
    (tmp_path / "b/reports/generation.json").write_text("{")
    with pytest.raises(SpecificationError, match=r"generation\.json: not valid JSON"):
        load_problem(path)


@pytest.fixture
def inside() -> ModuleType:
    """The module that measures in the sandbox."""
    path = Path(loading.__path__[0]) / "inside/overnight_algotune.py"
    spec = importlib.util.spec_from_file_location("overnight_algotune", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Doubled:
    """A task whose clock is that of the test: the reference takes 8 s, and every other call of a function 2 s."""

    def __init__(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.seen: list[int] = []
        monkeypatch.setattr(module.time, "perf_counter", self.tick)

    def tick(self) -> float:
        self.now += 1
        return self.now

    def generate_problem(self, n: int, random_seed: int) -> int:
        return n + random_seed

    def solve(self, problem: int) -> int:
        self.now += 7
        return 2 * problem

    def is_solution(self, problem: int, solution: Any) -> bool:
        return solution == 2 * problem


def test_the_score_is_how_much_faster_it_is_with_the_call_added_to_both(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    task = Doubled(inside, monkeypatch)
    monkeypatch.setattr(inside, "others_cpu_s", lambda: 0.0)  # of this machine, on which other tests run

    def solve(problem: int) -> int:
        task.seen.append(problem)
        task.now += 1
        return 2 * problem

    # 8 s, and 1 s for crossing there and 1 s back, over 2 s.
    assert inside.measure(task, solve, 5, 3) == 5.0
    inside.measure(task, solve, 5, 3)
    assert len(set(task.seen)) == 2 * inside.INSTANCES + 2, "no problem is seen twice, nor known before"
    said = capsys.readouterr().out
    assert "5 times as fast" in said
    assert "the reference 8e+03 ms, to pass data to another process and back 2e+03 ms, which is added to it" in said


def test_a_wrong_solution_and_a_program_that_computes_meanwhile_have_no_score(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    task = Doubled(inside, monkeypatch)
    with pytest.raises(ValueError, match="not a solution of problem 0 of size 5, seed 3"):
        inside.measure(task, lambda problem: problem, 5, 3)
    monkeypatch.setattr(inside, "others_cpu_s", itertools.count().__next__)
    with pytest.raises(RuntimeError, match="while it was not called"):
        inside.measure(task, task.solve, 5, 3)


FASTER = 'return {"sum": 100 * int(problem["values"].sum())}'

MEDDLING = """
import os
if not hasattr(Sums, "is_slowed"):
    Sums.is_slowed = True
    if os.fork() == 0:
        while True: pass
return {"sum": 100 * int(problem["values"].sum())}
"""


@pytest.mark.docker
@pytest.mark.parametrize(
    ("edit", "body", "outcome", "says"),
    [
        (str, "", Outcome.SCORED, ": the reference"),
        (str, FASTER, Outcome.SCORED, "the program"),
        (str, 'return {"sum": 0}', Outcome.CRASHED, "not a solution of problem 0"),
        (str, "Sums.is_solution = lambda *_: True\nreturn {}", Outcome.CRASHED, "not a solution of problem 0"),
        (str, MEDDLING, Outcome.CRASHED, "while it was not called"),
        (
            lambda task: task.replace("return {", "open('/data/sums.npy'); return {", 1),
            "",
            Outcome.CRASHED,
            "/data/sums",
        ),
        (lambda task: task.replace("import numpy", "import cupy; import numpy", 1), "", Outcome.CRASHED, "cupy"),
        (
            lambda task: task.replace("return {", "open('kept', 'w'); return {", 1),
            "",
            Outcome.CRASHED,
            "Read-only file",
        ),
    ],
    ids=["reference", "faster", "wrong", "forges", "meddles", "needs data", "needs a GPU", "writes"],
)
def test_a_program_is_measured_in_a_process_of_its_own(
    edit: Callable[[str], str], body: str, outcome: Outcome, says: str, tmp_path: Path
):
    size = 4000 if body == MEDDLING else 400  # long enough to be seen in the kernel's ticks
    verdict = evaluated(write(tmp_path, edit(TASK), size=size), body, size)
    assert verdict.outcome is outcome, verdict
    assert says in verdict.error + verdict.output
    if body == FASTER:
        assert verdict.scores[0] > 2
    elif verdict.is_scored:
        assert 0.2 < verdict.scores[0] < 5, "about 1, on a busy machine, too"


def evaluated(path: Path, body: str, size: int) -> Verdict:
    problem = load_problem(path, {"inputs": [[size, 1]], "dependencies": []})
    image_of(problem)
    with open_sandboxes(problem, "train", seed=1, run_id="test") as sandbox:
        return sandbox.evaluate(problem.specification.program(body or problem.specification.start_body))
