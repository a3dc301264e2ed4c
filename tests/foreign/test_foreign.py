"""Task directories of OpenEvolve and ShinkaEvolve run as they are, and score as they do there."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from flows.images import image_of
from flows.sandboxes import open_sandboxes
from schemas.errors import SpecificationError
from schemas.outcome import Outcome, Verdict
from schemas.problem import Problem, changed_since, load_problem, restore_problem

TASKS = Path(__file__).parent
OPENEVOLVE, SHINKA = TASKS / "openevolve", TASKS / "shinka"


def verdict_on(problem: Problem, program: str | None = None) -> Verdict:
    image_of(problem)
    with open_sandboxes(problem, "train", seed=1, run_id="test") as sandbox:
        return sandbox.evaluate(problem.specification.text if program is None else program)


def test_what_openevolve_s_config_says_holds():
    settings = load_problem(OPENEVOLVE / "line_fit").settings
    assert settings.statement == "Find the slope and the intercept of the line through the points."
    assert (settings.limits.wall_s, settings.search.islands) == (20, 3)
    sampling = settings.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.timeout_s) == (0.6, None, 2048, 90)


def test_a_time_out_of_openevolve_is_for_each_stage_of_a_cascade():
    assert load_problem(OPENEVOLVE / "knapsack").settings.limits.wall_s == 30


def test_what_shinka_s_files_say_holds():
    cosine, change = (load_problem(SHINKA / name).settings for name in ("cosine", "change"))
    assert cosine.statement == "Approximate the cosine on [-1.5, 1.5] without any library."
    assert (cosine.limits.wall_s, cosine.search.islands, cosine.sampling.max_tokens) == (90, 2, 1024)
    assert (change.statement, change.search.islands) == ("Give change with as few coins as you can.", 2)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            OPENEVOLVE / "line_fit",
            "--model openai/small-model=0.8 --model openai/large-model=0.2 --api-base http://127",
        ),
        (OPENEVOLVE / "line_fit", "--max-samples 40"),
        (OPENEVOLVE / "line_fit", "--seed 7"),
        (
            OPENEVOLVE / "line_fit",
            "not used: database.archive_size, diff_based_evolution, evaluator.parallel_evaluations, "
            "prompt.num_top_programs",
        ),
        (OPENEVOLVE / "word_count", "requirements.txt: not used: -r other.txt"),
        (SHINKA / "cosine", "not used: archive_size, temperatures"),
        (SHINKA / "change", "--max-samples 12"),
    ],
)
def test_what_cannot_be_honoured_is_said_by_name(task: Path, said: str):
    assert said in "\n".join(load_problem(task).notes)


def test_what_is_set_beside_it_or_by_flags_comes_first(tmp_path: Path):
    task = shutil.copytree(OPENEVOLVE / "line_fit", tmp_path / "line_fit")
    (task / "overnight.toml").write_text("search.islands = 4\nlimits.wall_s = 7\n")
    settings = load_problem(task, {"limits": {"wall_s": 8}}).settings
    assert (settings.search.islands, settings.limits.wall_s, settings.limits.output_kib) == (4, 8, 1024)


def test_requirements_are_dependencies_but_for_the_tool_itself():
    assert load_problem(OPENEVOLVE / "word_count").needs.packages == ("numpy>=1.26",)


def test_a_run_is_restored_and_its_files_are_not_called_changed(tmp_path: Path):
    task = shutil.copytree(OPENEVOLVE / "knapsack", tmp_path / "knapsack")
    problem = load_problem(task)
    settings = problem.settings.model_dump(mode="json")
    again = restore_problem(problem.name, problem.specification.text, settings, problem.files)
    assert (again.job(), again.needs, again.hash) == (problem.job(), problem.needs, problem.hash)
    assert changed_since(problem, task) == []
    (task / "instances.py").write_text("")
    assert changed_since(problem, task) == ["instances.py"]


def test_a_config_that_is_no_yaml_is_an_error(tmp_path: Path):
    task = shutil.copytree(OPENEVOLVE / "line_fit", tmp_path / "line_fit")
    (task / "config.yaml").write_text("llm: [")
    with pytest.raises(SpecificationError, match=r"config\.yaml: no YAML"):
        load_problem(task)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("task", "score", "prints"),
    [
        (OPENEVOLVE / "line_fit", 1 / 3.5, "error 2.500"),
        (OPENEVOLVE / "knapsack", 0.6104, "shares: "),
        (OPENEVOLVE / "word_count", 2 / 3, ""),
        (SHINKA / "cosine", 1 / (1 + abs(1 - 1.5**2 / 2 - math.cos(1.5))), "error 0.1957"),
        (SHINKA / "change", -5, ""),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_the_start_program_scores_as_in_the_tool(task: Path, score: float, prints: str):
    verdict = verdict_on(load_problem(task))
    assert verdict.is_scored, verdict
    assert verdict.scores == (pytest.approx(score, abs=2e-3),)
    assert prints in verdict.output


@pytest.mark.docker
def test_a_program_below_a_threshold_keeps_the_score_of_its_stage():
    problem = load_problem(OPENEVOLVE / "knapsack")
    worst = problem.specification.with_body("def worth(weight, value):\n    return weight * 9.0 - value\n")
    verdict = verdict_on(problem, worst)
    assert verdict.scores[0] < 0.3
    assert "stage1: " in verdict.output
    assert "shares: " not in verdict.output


@pytest.mark.docker
def test_a_program_that_fails_the_evaluator_has_no_score():
    problem = load_problem(OPENEVOLVE / "knapsack")
    verdict = verdict_on(problem, problem.specification.with_body("def worth(weight, value):\n    return 1 / 0\n"))
    assert verdict.outcome is Outcome.CRASHED
    assert "ZeroDivisionError" in verdict.error


@pytest.mark.docker
def test_a_program_that_shinka_would_call_incorrect_has_no_score():
    problem = load_problem(SHINKA / "change")
    verdict = verdict_on(problem, problem.specification.with_body("def change(amount, coins):\n    return [1]\n"))
    assert verdict.outcome is Outcome.CRASHED
    assert "not correct: Validation failed: 1 given for 14" in verdict.error
