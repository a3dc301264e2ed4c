"""Our problem formats pass the contract, and what is of no format is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.schemas.errors import UsageError
from overnight.tasks.problems.loading import load
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.problem_formats import ADDRESS, COMMAND, UNUSED, Example, ProblemFormatContract

GUESS = """
@funsearch.run
def evaluate(n):
    return guess(n)

@funsearch.evolve
def guess(n):
    return n
"""
TASK = """
from AlgoTuneTasks.base import Task, register_task

@register_task("problem")
class Problem(Task):
    def generate_problem(self, n, random_seed=1): return n
    def solve(self, problem): return problem
    def is_solution(self, problem, solution): return solution == problem
"""
BLOCK = '# /// script\n# [tool.overnight]\n# inputs = ["inputs.json"]\n# files = ["data.csv"]\n{}# ///\n'

EXAMPLES = {
    example.format: example
    for example in (
        Example(
            format="specification_file",
            named="guess_it.py",
            files={"guess_it.py": BLOCK.format("") + GUESS, "inputs.json": "[3]", "data.csv": "1,2\n"},
            read=("overnight.toml",),
            needed=("guess_it.py",),
            unused=("guess_it.py", BLOCK.format(f"# {UNUSED} = 1\n") + GUESS),
            proposing=(
                (
                    "guess_it.py",
                    BLOCK.format(f'# sampling.models = [{{ name = "x/y", api_base = "{ADDRESS}" }}]\n') + GUESS,
                ),
            ),
        ),
        Example(
            format="algotune",
            files={"problem.py": TASK, "description.txt": "Do it.\n", "overnight.toml": "inputs = [[3, 1]]\n"},
            needed=("problem.py", "description.txt"),
            unused=("overnight.toml", f"{UNUSED} = 1\n"),
            start="problem.py",
        ),
        Example(
            format="directory",
            files={"overnight.toml": COMMAND, "main.py": "x = 1\n", "score.py": "print(1)\n", "data.csv": "1,2\n"},
            left_out=("score.py",),
            needed=("overnight.toml", "main.py"),
            unused=("overnight.toml", f"{UNUSED} = 1\n{COMMAND}"),
        ),
        Example(
            format="frontier_cs",
            files={
                "config.yaml": "subtasks: [{n_cases: 1}]\n",
                "statement.txt": "Do it.\n",
                "chk.cc": "int main() {}\n",
                "testlib.h": "\n",
                "testdata/1.in": "1\n",
                "testdata/1.ans": "2\n",
                "solution.cpp": "int x = 1;\nint main() {}\n",
            },
            read=("overnight.toml",),
            needed=("config.yaml", "statement.txt", "chk.cc", "testdata/1.in"),
            unused=("config.yaml", f"subtasks: [{{n_cases: 1}}]\n{UNUSED}: 1\n"),
            proposing=(("config.yaml", f"subtasks: [{{n_cases: 1}}]\napi_base: '{ADDRESS}'\n"),),
        ),
        Example(
            format="openevolve",
            files={
                "initial_program.py": "x = 1\n",
                "evaluator.py": "def evaluate(path):\n    return {'combined_score': 1.0}\n",
                "config.yaml": "prompt: {system_message: Climb the hill.}\n",
                "requirements.txt": "numpy\n",
            },
            read=("overnight.toml",),
            needed=("initial_program.py", "evaluator.py"),
            unused=("config.yaml", f"{UNUSED}: 1\n"),
            proposing=(("config.yaml", f"llm: {{primary_model: theirs, api_base: '{ADDRESS}'}}\n"),),
        ),
        Example(
            format="shinka",
            files={
                "initial.py": "x = 1\n",
                "evaluate.py": "def main(program_path, results_dir): ...\n",
                "shinka.yaml": "evo_config: {task_sys_msg: Climb the hill.}\n",
                "run_evo.py": "evo = EvolutionConfig(num_generations=9)\n",
            },
            read=("overnight.toml", "requirements.txt"),
            needed=("initial.py", "evaluate.py"),
            unused=("shinka.yaml", f"evo_config: {{{UNUSED}: 1}}\n"),
            proposing=(
                ("shinka.yaml", f"evo_config: {{llm_models: ['openai/x@{ADDRESS}']}}\n"),
                ("run_evo.py", f"evo = EvolutionConfig(llm_models=['x'], api_base='{ADDRESS}')\n"),
            ),
        ),
        Example(
            format="skydiscover",
            files={
                "initial_program.py": "x = 1\n",
                "evaluator/evaluator.py": "def evaluate(path):\n    return {'combined_score': 1.0}\n",
                "evaluator/requirements.txt": "numpy\n",
                "evaluator/Dockerfile": "FROM theirs\n",
                "config.yaml": "prompt: {system_message: Climb the hill.}\n",
            },
            read=("overnight.toml",),
            needed=("initial_program.py", "evaluator/evaluator.py"),
            unused=("config.yaml", f"{UNUSED}: 1\n"),
            proposing=(("evaluator/Dockerfile", f"FROM theirs\nRUN pip install -i {ADDRESS} theirs\n"),),
        ),
    )
}


class TestEveryFormat(ProblemFormatContract):
    """All registered formats keep to it."""

    @pytest.fixture(params=EXAMPLES.values(), ids=list(EXAMPLES))
    def example(self, request: pytest.FixtureRequest) -> Example:
        return request.param


def test_there_is_an_example_of_every_format():
    assert sorted(EXAMPLES) == list(load.OURS)


def test_a_directory_of_no_format_is_refused_and_a_misspelt_command_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match="no command that scores") as caught:
        load_problem(tmp_path)
    assert "overnight.toml" in caught.value.remedy
    (tmp_path / "overnight.toml").write_text("command.evaluat = ['true']\n")
    with pytest.raises(UsageError, match=r"did you mean `command\.evaluate`"):
        load_problem(tmp_path)


def test_a_file_of_no_format_is_refused_and_a_specification_may_have_any_suffix(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("What is this?\n")
    with pytest.raises(UsageError, match=r"mine\.txt: not a problem") as caught:
        load_problem(tmp_path / "mine.txt")
    assert "overnight init" in caught.value.remedy
    (tmp_path / "mine.txt").write_text(GUESS)
    assert load_problem(tmp_path / "mine.txt", {"inputs": [1]}).name == "mine"


def test_a_format_that_no_package_has_is_refused_with_the_name_of_the_configuration_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text('plugins.problem_formats = ["nosuch"]\n')
    with pytest.raises(UsageError, match=r"config\.toml: plugins\.problem_formats: expected one of .*got 'nosuch'"):
        load_problem(tmp_path)
