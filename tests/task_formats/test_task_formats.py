"""Task directories of OpenEvolve and ShinkaEvolve run as they are, and score as they do there."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.create_run import printed_error, start_remedy
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
    assert (settings.limits.wall_s, settings.search.algorithm.islands) == (20, 3)
    sampling = settings.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.timeout_s) == (0.6, None, 2048, 90)


def test_a_time_out_of_openevolve_is_for_each_stage_of_a_cascade():
    assert load_problem(OPENEVOLVE / "knapsack").settings.limits.wall_s == 30


def test_what_shinka_s_files_say_holds():
    cosine, change = (load_problem(SHINKA / name).settings for name in ("cosine", "change"))
    assert cosine.statement == "Approximate the cosine on [-1.5, 1.5] without any library."
    assert (cosine.limits.wall_s, cosine.search.algorithm.islands, cosine.sampling.max_tokens) == (90, 2, 1024)
    assert (change.statement, change.search.algorithm.islands) == ("Give change with as few coins as you can.", 2)


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
    assert (settings.search.algorithm.islands, settings.limits.wall_s, settings.limits.output_kib) == (4, 8, 1024)


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


def bare_task(folder: Path, **files: str) -> Path:
    """A directory with files of these contents, `__` in their names being the dot."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


EVALUATE = "def evaluate(path):\n    return {'combined_score': 1.0}\n"


@pytest.mark.parametrize(
    ("files", "flags", "program"),
    [
        ({"evaluator__py": EVALUATE, "init_program__py": "x = 1\n"}, {}, "init_program.py"),
        ({"evaluator__py": EVALUATE, "initial_prompt__txt": "Do it.\n"}, {}, "initial_prompt.txt"),
        ({"evaluator__py": EVALUATE, "mine__c": "x\n"}, {"command": {"program": "mine.c"}}, "mine.c"),
        ({"evaluate__py": "", "mine__jl": "x\n"}, {"command": {"program": "mine.jl"}}, "mine.jl"),
        ({"evaluate__py": "", "a__jl": "x\n", "overnight__toml": "command.program = 'a.jl'"}, {}, "a.jl"),
    ],
)
def test_a_start_program_of_another_name_is_found_or_named(files: dict, flags: dict, program: str, tmp_path: Path):
    assert load_problem(bare_task(tmp_path / "task", **files), flags).settings.command.program == program


def test_a_directory_that_is_a_number_is_called_by_the_one_above_it_too(tmp_path: Path):
    (tmp_path / "hexagon_packing").mkdir()
    task = bare_task(tmp_path / "hexagon_packing" / "11", evaluator__py=EVALUATE, initial_program__py="x = 1\n")
    assert load_problem(task).name == "hexagon-packing-11"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"evaluator__py": EVALUATE}, "evaluator.py looks like one of OpenEvolve"),
        ({"evaluate__py": "def main(program_path, results_dir): ..."}, "evaluate.py looks like one of ShinkaEvolve"),
        ({"evaluate__py": "print(1)"}, "Write `command.evaluate"),
        ({"evaluator__py": EVALUATE, "initial_program__py": "", "initial_program__c": ""}, "command.program=FILE"),
    ],
)
def test_an_evaluator_without_its_program_says_how_to_name_it(files: dict, said: str, tmp_path: Path):
    with pytest.raises(SpecificationError) as error:
        load_problem(bare_task(tmp_path / "task", **files))
    assert said in str(error.value.remedy)


def test_what_evolves_is_a_file_of_the_directory_itself(tmp_path: Path):
    task = bare_task(tmp_path / "task", evaluator__py=EVALUATE)
    with pytest.raises(SpecificationError, match="in the directory itself"):
        load_problem(task, {"command": {"program": "src/main.c"}})


@pytest.mark.parametrize("name", ["config.yml", "config_phase_1.yaml"])
def test_a_config_of_another_name_is_read(name: str, tmp_path: Path):
    task = bare_task(tmp_path / "task", evaluator__py=EVALUATE, initial_program__py="x = 1\n")
    (task / name).write_text("prompt: {system_message: First do this.}\n")
    assert load_problem(task).settings.statement == "First do this."


def test_of_several_configs_the_first_is_read_and_the_others_are_named(tmp_path: Path):
    task = bare_task(
        tmp_path / "task",
        evaluator__py=EVALUATE,
        initial_program__py="x = 1\n",
        config_a__yaml="prompt: {system_message: First do this.}\n",
        config_b__yaml="prompt: {system_message: Then do that.}\n",
    )
    problem = load_problem(task)
    assert problem.settings.statement == "First do this."
    assert "config_a.yaml is read, and not config_b.yaml; copied to config.yaml" in "\n".join(problem.notes)


def test_the_yaml_that_run_evo_names_is_read(tmp_path: Path):
    task = bare_task(
        tmp_path / "task",
        evaluate__py="",
        initial__py="x = 1\n",
        run_evo__py='def main(path="shinka_small.yaml"): ...\n',
        shinka_large__yaml="db_config: {num_islands: 9}\n",
        shinka_small__yaml="db_config: {num_islands: 3}\n",
    )
    assert load_problem(task).settings.search.algorithm.islands == 3


@pytest.mark.parametrize(
    ("files", "characters"),
    [
        ({"config__yaml": "prompt: {include_artifacts: true, max_artifact_bytes: 900}"}, 900),
        ({"config__yaml": "prompt: {include_artifacts: true, max_artifact_bytes: 90000}"}, 4000),
        ({"config__yaml": "prompt: {include_artifacts: false}"}, 0),
        ({}, 0),
    ],
)
def test_artifacts_are_shown_to_models_where_openevolve_s_config_wants_it(files: dict, characters: int, tmp_path: Path):
    task = bare_task(tmp_path / "task", evaluator__py=EVALUATE, initial_program__py="x = 1\n", **files)
    problem = load_problem(task)
    assert problem.settings.search.feedback == characters
    assert "artifact" not in "\n".join(problem.notes)


def test_text_feedback_is_shown_to_models_where_shinka_s_yaml_wants_it(tmp_path: Path):
    yaml = "evo_config: {use_text_feedback: true}"
    task = bare_task(tmp_path / "task", evaluate__py="", initial__py="x = 1\n", shinka__yaml=yaml)
    assert load_problem(task).settings.search.feedback == 4000


def test_packages_that_nobody_names_are_asked_for_where_the_task_uses_them(tmp_path: Path):
    task = bare_task(
        tmp_path / "task",
        evaluator__py="import yaml\nfrom beside import x\n" + EVALUATE,
        beside__py="from sklearn import svm\nimport networkx\n",
        networkx__py="",
        initial_program__py="import os\n",
        config__yaml="prompt: {system_message: You may use scipy.}\n",
        requirements__txt="PyYAML>=6\n",
        plot__py="import matplotlib\n",
    )
    problem = load_problem(task)
    assert problem.needs.packages == ("PyYAML>=6", "scikit-learn", "scipy")
    assert "packages that it uses and no requirements.txt names: scikit-learn, scipy" in problem.notes


def test_models_that_do_not_speak_openai_s_protocol_are_no_flags(tmp_path: Path):
    config = "llm: {provider: claude_code, models: [{name: sonnet}]}\n"
    task = bare_task(tmp_path / "task", evaluator__py=EVALUATE, initial_program__py="x = 1\n", config__yaml=config)
    notes = "\n".join(load_problem(task).notes)
    assert "its llm.provider is claude_code" in notes
    assert "--model openai" not in notes


def test_an_evaluator_may_start_python_and_its_error_is_told_without_ours(tmp_path: Path):
    starts = (
        "import subprocess\ndef evaluate(path):\n    return subprocess.check_output(['python', '-c', 'print(1)'])\n"
    )
    task = bare_task(tmp_path / "task", evaluator__py=starts, initial_program__py="x = 1\n")
    for file in load_problem(task).files:
        (task / file.path).write_bytes(file.content)
    options = '{"thresholds": null, "features": []}'
    done = subprocess.run(
        [sys.executable, "overnight_openevolve.py", "initial_program.py", options],
        cwd=task,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "TypeError: the evaluator returned bytes" in done.stderr
    assert "in main" not in done.stderr


PROBLEMS = {
    "a task": OPENEVOLVE / "line_fit",
    "a directory": TASKS.parent / "specifications" / "hill",
    "a specification": TASKS.parent / "specifications" / "toy.py",
}


@pytest.mark.parametrize(
    ("which", "error", "said"),
    [
        ("a task", "ModuleNotFoundError: No module named 'torch.nn'", "If torch is a package: a line with its name"),
        ("a task", "ModuleNotFoundError: No module named 'shinka.llm'", "shinka.llm is of the tool itself"),
        ("a task", "RuntimeError: gfortran executable not found", "an image of your own, --image NAME"),
        ("a directory", "ModuleNotFoundError: No module named 'torch'", 'dependencies = ["torch"]'),
        ("a directory", "OSError: cargo", "an image of your own, --image NAME"),
        ("a specification", "ModuleNotFoundError: No module named 'torch'", 'dependencies = ["torch"]'),
        ("a specification", "ModuleNotFoundError: No module named 'several'", 'files = ["several.py"]'),
        ("a specification", "ZeroDivisionError", ""),
    ],
)
def test_what_a_start_program_lacks_is_told_with_the_way_to_it(which: str, error: str, said: str):
    path = PROBLEMS[which]
    remedy = start_remedy(Verdict(Outcome.CRASHED, error=error), load_problem(path), path)
    assert said in remedy
    assert bool(remedy) is bool(said)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("stage 1\nerror: [Errno 2] No such file: 'cargo'\ntype: x", "error: [Errno 2] No such file: 'cargo'"),
        ("Traceback …\nModuleNotFoundError: No module named 'torch'\n", "torch is a package: a line"),
        ("numpy.linalg.LinAlgError: singular", "numpy.linalg.LinAlgError: singular"),
        ("error: None\nmean error: 0.2\nerror 2.5\nall_validation_errors: []", ""),
    ],
)
def test_a_start_program_that_is_scored_in_spite_of_an_error_is_told_of(output: str, said: str):
    task = OPENEVOLVE / "line_fit"
    told = printed_error(Verdict(Outcome.SCORED, scores=(0.0,), output=output), load_problem(task), task)
    assert said in told
    assert bool(told) is bool(said)


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
