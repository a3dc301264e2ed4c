"""A problem that is a directory: a file with marks, a command, settings beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schemas.errors import SpecificationError, UsageError
from schemas.job import Call, Command
from schemas.problem import load_problem, restore_problem, settings_beyond

HILL = Path(__file__).parents[1] / "specifications" / "hill"
MARKED = "# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n"
COMMAND = 'command.evaluate = ["python3", "{program}"]\n'


def make(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


def test_it_is_a_problem_whose_job_is_a_command():
    job = load_problem(HILL).job(seed=3)
    assert job.command == Command("climb.py", ("python3", "{program}", "{input}"), metric="height")
    assert job.inputs == (Call((0,)), Call((1,)))
    assert job.isolation is None
    assert job.limits.scratch_mib > 0


def test_the_score_is_called_what_the_metric_is_called_unless_it_has_a_name():
    assert load_problem(HILL).settings.score_name == "height"
    assert load_problem(HILL, {"score_name": "metres"}).settings.score_name == "metres"


def test_without_inputs_the_command_runs_once(tmp_path: Path):
    problem = load_problem(make(tmp_path, overnight__toml=COMMAND, main__py=MARKED))
    assert problem.job().inputs == (Call((None,)),)


def test_what_a_run_wrote_down_is_the_same_problem():
    problem = load_problem(HILL)
    settings = problem.settings.model_dump(mode="json")
    again = restore_problem(problem.name, problem.specification.text, settings)
    assert (again.job(), again.specification) == (problem.job(), problem.specification)


def test_a_folder_of_specifications_says_how_they_are_named(tmp_path: Path):
    folder = make(tmp_path, mine__py="@funsearch.evolve\ndef p(n): return 1\n", other__py="x = 1\n")
    with pytest.raises(SpecificationError, match="no command") as caught:
        load_problem(folder)
    assert caught.value.remedy == f"A specification is named by its own path: {folder / 'mine.py'}"


def test_a_file_without_marks_evolves_whole_if_it_is_named(tmp_path: Path):
    make(tmp_path, overnight__toml=COMMAND + 'command.program = "main.py"\n', main__py="x = 1\n")
    assert load_problem(tmp_path).specification.start_body == "x = 1"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"main__py": MARKED}, "no command that scores"),
        ({"overnight__toml": COMMAND, "main__py": "x = 1\n"}, "no file has EVOLVE-BLOCK-START"),
        ({"overnight__toml": COMMAND, "a__py": MARKED, "b__py": MARKED}, "2 files have marks: a.py, b.py"),
        ({"overnight__toml": COMMAND + 'command.program = "no.py"\n'}, "no.py: No such file"),
        ({"overnight__toml": COMMAND + "sandbox.split = true\n", "a__py": MARKED}, "split=true is for specifications"),
        ({"overnight__toml": COMMAND + "command.metrik = 'a'\n", "a__py": MARKED}, "did you mean `command.metric`"),
    ],
)
def test_what_is_wrong_is_said(files: dict[str, str], says: str, tmp_path: Path):
    with pytest.raises((SpecificationError, UsageError), match=says):
        load_problem(make(tmp_path, **files))


def test_what_flags_have_to_say_is_what_the_files_do_not():
    own = load_problem(HILL)
    assert settings_beyond(own, HILL) == {}
    other = load_problem(HILL, {"search": {"islands": 3}, "limits": {"wall_s": 7}})
    assert settings_beyond(other, HILL) == {"search.algorithm.islands": 3, "limits.wall_s": 7.0}


def test_where_the_files_are_gone_or_changed_flags_say_what_is_missing(tmp_path: Path):
    other = load_problem(HILL, {"search": {"islands": 3}})
    assert {"search.algorithm.islands", "command.evaluate"} <= set(settings_beyond(other, tmp_path / "gone"))
    changed = tmp_path / "hill"
    shutil.copytree(HILL, changed)
    settings = changed / "overnight.toml"
    settings.write_text(settings.read_text().replace("islands = 2", "islands = 3"))
    assert settings_beyond(other, changed) == {}
    assert settings_beyond(load_problem(HILL), changed) == {"search.algorithm.islands": 2}
