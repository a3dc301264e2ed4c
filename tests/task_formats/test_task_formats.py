"""Task directories of OpenEvolve and ShinkaEvolve run unchanged, and give the same scores as in their tools."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.flows.start.create_run import printed_error, start_remedy
from overnight.flows.start.sandboxes import image_of, open_sandboxes
from overnight.schemas.bundle import Source
from overnight.schemas.errors import SpecificationError
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.stored_problem import changed_since
from overnight.tasks.program.make_problem import restore_problem
from overnight.testing.population import islands_in

TASKS = Path(__file__).parent
OPENEVOLVE, SHINKA = TASKS / "openevolve", TASKS / "shinka"


def evaluate_program(problem: Problem, program: Source | None = None) -> Verdict:
    image_of(problem)
    with open_sandboxes(problem, "train", seed=1, run_id="test") as sandbox:
        return sandbox.evaluate(problem.specification.start_program if program is None else program)


def test_settings_of_openevolve_s_config_are_used():
    settings = load_problem(OPENEVOLVE / "line_fit").settings
    assert settings.statement == "Find the slope and the intercept of the line through the points."
    assert (settings.limits.wall_s, islands_in(settings.search)) == (20, 3)
    sampling = settings.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.timeout_s) == (0.6, None, 2048, 90)


def test_a_timeout_of_openevolve_holds_for_each_stage_of_a_cascade():
    assert load_problem(OPENEVOLVE / "knapsack").settings.limits.wall_s == 30


def test_settings_of_shinka_s_files_are_used():
    cosine, change = (load_problem(SHINKA / name).settings for name in ("cosine", "change"))
    assert cosine.statement == "Approximate the cosine on [-1.5, 1.5] without any library."
    assert (cosine.limits.wall_s, islands_in(cosine.search), cosine.sampling.max_tokens) == (90, 2, 1024)
    assert (change.statement, islands_in(change.search)) == ("Give change with as few coins as you can.", 2)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            OPENEVOLVE / "line_fit",
            "--model openai/small-model=0.8 --model openai/large-model=0.2 --api-base http://127",
        ),
        (OPENEVOLVE / "line_fit", "overnight run … --max-samples 40"),
        (OPENEVOLVE / "line_fit", "overnight run … --seed 7"),
        (SHINKA / "cosine", "its models are small-model: name models with --model PROVIDER/MODEL"),
        (
            OPENEVOLVE / "line_fit",
            "not used: database.archive_size, diff_based_evolution, evaluator.parallel_evaluations, "
            "prompt.num_top_programs",
        ),
        (OPENEVOLVE / "word_count", "requirements.txt: not used: -r other.txt"),
        (OPENEVOLVE / "word_count", "the score is the mean of all its metrics"),
        (SHINKA / "cosine", "not used: archive_size, temperatures"),
        (SHINKA / "change", "--max-samples 12"),
    ],
)
def test_settings_that_are_not_used_are_named_in_the_notes(task: Path, message: str):
    assert message in "\n".join(load_problem(task).notes)


@pytest.mark.parametrize(
    ("config", "proposed"),
    [
        ("max_iterations: 0\nrandom_seed: -3\n", []),
        ("max_iterations: many\nrandom_seed: null\n", []),
        ("llm:\n  primary_model: m\n  api_base: localhost:8000/v1\n", ["--model openai/m=1.0"]),
        ("llm:\n  primary_model: m\n  api_base: ${API_BASE}\n", ["--model openai/m=1.0"]),
        ("llm:\n  models: [{name: m, weight: heavy}, {name: two words}]\n", []),
    ],
    ids=["too small", "no numbers", "address without scheme", "placeholder", "models"],
)
def test_notes_never_propose_a_flag_that_is_refused(tmp_path: Path, config: str, proposed: list[str]):
    task = bare_task(tmp_path / "task", evaluator__py=EVALUATE, initial_program__py="x = 1\n", config__yaml=config)
    assert [note.partition(": ")[2] for note in load_problem(task).notes if note.startswith("to use")] == proposed


@pytest.mark.parametrize(
    ("models", "flag"),
    [
        (["gpt-5-mini"], "--model openai/gpt-5-mini"),
        (["local-llama", "claude-sonnet-4"], "--model anthropic/claude-sonnet-4"),
        (["openrouter/qwen/qwen3"], "--model openrouter/qwen/qwen3"),
    ],
    ids=["openai", "anthropic", "openrouter"],
)
def test_models_of_shinka_are_named_as_litellm_names_them(tmp_path: Path, models: list[str], flag: str):
    evaluate = "results_dir = '.'\n"
    config = f"evo_config:\n  llm_models: {models}\n"
    task = bare_task(tmp_path / "task", evaluate__py=evaluate, initial__py="x = 1\n", shinka__yaml=config)
    assert any(note.endswith(flag) for note in load_problem(task).notes)


def test_a_time_of_shinka_that_is_none_is_refused_with_a_remedy(tmp_path: Path):
    config = f"evo_config: {{}}\njob_config:\n  time: '{'9' * 5000}:00:00'\n"
    task = bare_task(tmp_path / "task", evaluate__py="results_dir = '.'\n", initial__py="x = 1\n", shinka__yaml=config)
    with pytest.raises(SpecificationError, match="expected HH:MM:SS") as refused:
        load_problem(task)
    assert refused.value.remedy


@pytest.mark.parametrize("folder", [TASKS, OPENEVOLVE], ids=["two levels above", "one level above"])
def test_a_folder_of_task_directories_names_them(folder: Path):
    with pytest.raises(SpecificationError, match=r"not a problem, but a folder of \d") as caught:
        load_problem(folder)
    assert str(OPENEVOLVE / "line_fit") in caught.value.remedy


def test_overnight_toml_and_flags_override_the_task(tmp_path: Path):
    task = shutil.copytree(OPENEVOLVE / "line_fit", tmp_path / "line_fit")
    (task / "overnight.toml").write_text("search.algorithm.islands = 4\nlimits.wall_s = 7\n")
    settings = load_problem(task, {"limits": {"wall_s": 8}}).settings
    assert (islands_in(settings.search), settings.limits.wall_s, settings.limits.output_kib) == (4, 8, 1024)


def test_requirements_are_dependencies_except_the_tool_itself():
    assert load_problem(OPENEVOLVE / "word_count").dependencies.packages == ("numpy>=1.26",)


def test_the_bridges_of_a_restored_run_do_not_count_as_changed_files(tmp_path: Path):
    task = shutil.copytree(OPENEVOLVE / "knapsack", tmp_path / "knapsack")
    problem = load_problem(task)
    settings = problem.settings.model_dump(mode="json")
    again = restore_problem(problem.name, problem.specification.text, settings, problem.files)
    assert (again.job(), again.dependencies, again.hash) == (problem.job(), problem.dependencies, problem.hash)
    assert changed_since(problem, task) == []
    (task / "instances.py").write_text("")
    assert changed_since(problem, task) == ["instances.py"]


def test_an_invalid_config_is_an_error(tmp_path: Path):
    task = shutil.copytree(OPENEVOLVE / "line_fit", tmp_path / "line_fit")
    (task / "config.yaml").write_text("llm: [")
    with pytest.raises(SpecificationError, match=r"config\.yaml: not valid YAML"):
        load_problem(task)


def bare_task(folder: Path, **files: str) -> Path:
    """Make a directory with files of these contents; `__` in a name stands for the dot."""
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


def test_the_name_of_a_numbered_directory_includes_its_parent_s(tmp_path: Path):
    (tmp_path / "hexagon_packing").mkdir()
    task = bare_task(tmp_path / "hexagon_packing" / "11", evaluator__py=EVALUATE, initial_program__py="x = 1\n")
    assert load_problem(task).name == "hexagon-packing-11"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"evaluator__py": EVALUATE}, "evaluator.py looks like an evaluator of OpenEvolve"),
        (
            {"evaluate__py": "def main(program_path, results_dir): ..."},
            "evaluate.py looks like an evaluator of ShinkaEvolve",
        ),
        ({"evaluate__py": "print(1)"}, "Write `command.evaluate"),
        ({"evaluator__py": EVALUATE, "initial_program__py": "", "initial_program__c": ""}, "command.program=FILE"),
    ],
)
def test_the_remedy_for_an_evaluator_without_its_program_tells_how_to_name_it(
    files: dict, message: str, tmp_path: Path
):
    with pytest.raises(SpecificationError) as error:
        load_problem(bare_task(tmp_path / "task", **files))
    assert message in str(error.value.remedy)


def test_the_evolved_file_must_be_in_the_directory_itself(tmp_path: Path):
    task = bare_task(tmp_path / "task", evaluator__py=EVALUATE)
    with pytest.raises(SpecificationError, match="in the directory itself"):
        load_problem(task, {"command": {"program": "src/main.c"}})


@pytest.mark.parametrize("name", ["config.yml", "config_phase_1.yaml"])
def test_a_config_of_another_name_is_read(name: str, tmp_path: Path):
    task = bare_task(tmp_path / "task", evaluator__py=EVALUATE, initial_program__py="x = 1\n")
    (task / name).write_text("prompt: {system_message: First do this.}\n")
    assert load_problem(task).settings.statement == "First do this."


def test_the_first_of_several_configs_is_read_and_the_others_are_named(tmp_path: Path):
    task = bare_task(
        tmp_path / "task",
        evaluator__py=EVALUATE,
        initial_program__py="x = 1\n",
        config_a__yaml="prompt: {system_message: First do this.}\n",
        config_b__yaml="prompt: {system_message: Then do that.}\n",
    )
    problem = load_problem(task)
    assert problem.settings.statement == "First do this."
    assert "config_a.yaml is read, not config_b.yaml; to use another one, copy it to config.yaml" in "\n".join(
        problem.notes
    )


def test_the_yaml_that_run_evo_names_is_read(tmp_path: Path):
    task = bare_task(
        tmp_path / "task",
        evaluate__py="",
        initial__py="x = 1\n",
        run_evo__py='def main(path="shinka_small.yaml"): ...\n',
        shinka_large__yaml="db_config: {num_islands: 9}\n",
        shinka_small__yaml="db_config: {num_islands: 3}\n",
    )
    assert islands_in(load_problem(task).settings.search) == 3


@pytest.mark.parametrize(
    ("files", "characters"),
    [
        ({"config__yaml": "prompt: {include_artifacts: true, max_artifact_bytes: 900}"}, 900),
        ({"config__yaml": "prompt: {include_artifacts: true, max_artifact_bytes: 90000}"}, 4000),
        ({"config__yaml": "prompt: {include_artifacts: false}"}, 0),
        ({}, 0),
    ],
)
def test_artifacts_become_feedback_if_openevolve_s_config_asks_for_it(files: dict, characters: int, tmp_path: Path):
    task = bare_task(tmp_path / "task", evaluator__py=EVALUATE, initial_program__py="x = 1\n", **files)
    problem = load_problem(task)
    assert problem.settings.search.feedback == characters
    assert "artifact" not in "\n".join(problem.notes)


def test_text_feedback_becomes_feedback_if_shinka_s_yaml_asks_for_it(tmp_path: Path):
    yaml = "evo_config: {use_text_feedback: true}"
    task = bare_task(tmp_path / "task", evaluate__py="", initial__py="x = 1\n", shinka__yaml=yaml)
    assert load_problem(task).settings.search.feedback == 4000


def test_common_packages_that_a_task_uses_without_listing_them_are_dependencies(tmp_path: Path):
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
    assert problem.dependencies.packages == ("PyYAML>=6", "scikit-learn", "scipy")
    assert "packages that are used but not in requirements.txt: scikit-learn, scipy" in problem.notes


def test_models_that_do_not_use_openai_s_protocol_are_not_translated_to_flags(tmp_path: Path):
    config = "llm: {provider: claude_code, models: [{name: sonnet}]}\n"
    task = bare_task(tmp_path / "task", evaluator__py=EVALUATE, initial_program__py="x = 1\n", config__yaml=config)
    notes = "\n".join(load_problem(task).notes)
    assert "its llm.provider is claude_code" in notes
    assert "--model openai" not in notes


def test_an_evaluator_can_start_python_and_its_traceback_has_no_frames_of_the_bridge(tmp_path: Path):
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
    ("case", "error", "message"),
    [
        ("a task", "ModuleNotFoundError: No module named 'torch.nn'", "If torch is a package: a line with its name"),
        ("a task", "ModuleNotFoundError: No module named 'shinka.llm'", "shinka.llm is of the tool itself"),
        ("a task", "RuntimeError: gfortran executable not found", "an image of your own, --image NAME"),
        ("a directory", "ModuleNotFoundError: No module named 'torch'", 'dependencies = ["torch"] in '),
        ("a directory", "ModuleNotFoundError: No module named 'torch'", "hill/overnight.toml, above its first table"),
        ("a directory", "OSError: cargo", "an image of your own, --image NAME"),
        ("a specification", "ModuleNotFoundError: No module named 'torch'", 'dependencies = ["torch"]'),
        ("a specification", "ModuleNotFoundError: No module named 'several'", 'files = ["several.py"]'),
        ("a specification", "ZeroDivisionError", ""),
    ],
)
def test_the_remedy_for_a_failed_start_program_names_what_it_lacks(case: str, error: str, message: str):
    path = PROBLEMS[case]
    remedy = start_remedy(Verdict(Outcome.CRASHED, error=error), load_problem(path), path)
    assert message in remedy
    assert bool(remedy) is bool(message)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("stage 1\nerror: [Errno 2] No such file: 'cargo'\ntype: x", "error: [Errno 2] No such file: 'cargo'"),
        ("Traceback …\nModuleNotFoundError: No module named 'torch'\n", "torch is a package: a line"),
        ("numpy.linalg.LinAlgError: singular", "numpy.linalg.LinAlgError: singular"),
        ("error: None\nmean error: 0.2\nerror 2.5\nall_validation_errors: []", ""),
    ],
)
def test_an_error_that_a_scored_start_program_prints_is_shown(output: str, expected: str):
    task = OPENEVOLVE / "line_fit"
    message = printed_error(Verdict(Outcome.SCORED, scores=(0.0,), output=output), load_problem(task), task)
    assert expected in message
    assert bool(message) is bool(expected)


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
    verdict = evaluate_program(load_problem(task))
    assert verdict.is_scored, verdict
    assert verdict.scores == (pytest.approx(score, abs=2e-3),)
    assert prints in verdict.output


@pytest.mark.docker
def test_a_program_below_a_threshold_keeps_the_score_of_its_stage():
    problem = load_problem(OPENEVOLVE / "knapsack")
    worst = problem.specification.program("def worth(weight, value):\n    return weight * 9.0 - value\n")
    verdict = evaluate_program(problem, worst)
    assert verdict.scores[0] < 0.3
    assert "stage1: " in verdict.output
    assert "shares: " not in verdict.output


@pytest.mark.docker
def test_a_program_that_fails_the_evaluator_has_no_score():
    problem = load_problem(OPENEVOLVE / "knapsack")
    verdict = evaluate_program(problem, problem.specification.program("def worth(weight, value):\n    return 1 / 0\n"))
    assert verdict.outcome is Outcome.CRASHED
    assert "ZeroDivisionError" in verdict.error


@pytest.mark.docker
def test_a_program_that_is_incorrect_in_shinka_has_no_score():
    problem = load_problem(SHINKA / "change")
    verdict = evaluate_program(problem, problem.specification.program("def change(amount, coins):\n    return [1]\n"))
    assert verdict.outcome is Outcome.CRASHED
    assert "not correct: Validation failed: 1 given for 14" in verdict.error
