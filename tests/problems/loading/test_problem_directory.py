"""Problems that are directories: a file with marks, a command, and settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.job import Call, Command
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.stored_problem import settings_not_in_files
from overnight.tasks.program.make_problem import restore_problem

HILL = Path(__file__).parents[2] / "specifications" / "hill"
MARKED = "# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n"
COMMAND = 'command.evaluate = ["python3", "{program}"]\n'


def make(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


def test_the_job_of_a_directory_is_a_command():
    job = load_problem(HILL).job(seed=3)
    assert job.command == Command("climb.py", ("python3", "{program}", "{input}"), metric="height")
    assert job.inputs == (Call((0,)), Call((1,)))
    assert job.isolation is None
    assert job.limits.scratch_mib > 0


def test_the_name_of_the_score_is_by_default_that_of_the_metric():
    assert load_problem(HILL).settings.score_name == "height"
    assert load_problem(HILL, {"score_name": "metres"}).settings.score_name == "metres"


def test_without_inputs_the_command_runs_once(tmp_path: Path):
    problem = load_problem(make(tmp_path, overnight__toml=COMMAND, main__py=MARKED))
    assert problem.job().inputs == (Call((None,)),)


def test_a_stored_problem_is_restored_unchanged():
    problem = load_problem(HILL)
    settings = problem.settings.model_dump(mode="json")
    again = restore_problem(problem.name, problem.specification.text, settings)
    assert (again.job(), again.specification) == (problem.job(), problem.specification)


def test_the_remedy_for_a_folder_of_specifications_names_them(tmp_path: Path):
    folder = make(tmp_path, mine__py="@funsearch.evolve\ndef p(n): return 1\n", other__py="x = 1\n")
    with pytest.raises(SpecificationError, match="no command") as caught:
        load_problem(folder)
    assert caught.value.remedy == f"Name a specification by its own path: {folder / 'mine.py'}"


def test_a_named_file_without_marks_evolves_whole(tmp_path: Path):
    make(tmp_path, overnight__toml=COMMAND + 'command.program = "main.py"\n', main__py="x = 1\n")
    assert load_problem(tmp_path).specification.start_body == "x = 1"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"main__py": MARKED}, "no command that scores"),
        ({"overnight__toml": COMMAND, "main__py": "x = 1\n"}, "no file has EVOLVE-BLOCK-START"),
        ({"overnight__toml": COMMAND, "a__py": MARKED, "b__py": MARKED}, "2 files have marks: a.py, b.py"),
        ({"overnight__toml": COMMAND + 'command.program = "no.py"\n'}, "no.py: No such file"),
        ({"overnight__toml": COMMAND + "sandbox.split = true\n", "a__py": MARKED}, "split=true is for specifications"),
        ({"overnight__toml": COMMAND + "command.metrik = 'a'\n", "a__py": MARKED}, "did you mean `command.metric`"),
    ],
)
def test_a_wrong_directory_is_refused_with_the_reason(files: dict[str, str], message: str, tmp_path: Path):
    with pytest.raises((SpecificationError, UsageError), match=message):
        load_problem(make(tmp_path, **files))


def test_settings_that_the_files_do_not_give_are_found():
    own = load_problem(HILL)
    assert settings_not_in_files(own, HILL) == {}
    other = load_problem(HILL, {"search": {"algorithm": {"islands": 3}}, "limits": {"wall_s": 7}})
    assert settings_not_in_files(other, HILL) == {"search.algorithm.islands": 3, "limits.wall_s": 7.0}


def test_settings_that_missing_or_changed_files_do_not_give_are_found(tmp_path: Path):
    other = load_problem(HILL, {"search": {"algorithm": {"islands": 3}}})
    assert {"search.algorithm.islands", "command.evaluate"} <= set(settings_not_in_files(other, tmp_path / "gone"))
    changed = tmp_path / "hill"
    shutil.copytree(HILL, changed)
    settings = changed / "overnight.toml"
    settings.write_text(settings.read_text().replace("islands = 2", "islands = 3"))
    assert settings_not_in_files(other, changed) == {}
    assert settings_not_in_files(load_problem(HILL), changed) == {"search.algorithm.islands": 2}


def test_scores_of_a_command_can_be_forged_and_those_of_a_function_cannot(toy: Path):
    problem = load_problem(HILL)
    assert "can be forged" in problem.score_warning
    settings = problem.settings.model_dump(mode="json")
    assert "can be forged" in restore_problem("hill", problem.specification.text, settings, problem.files).score_warning
    assert load_problem(toy).score_warning == ""
