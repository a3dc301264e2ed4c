"""The problem format passes the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overnight.schemas.errors import SpecificationError, UsageError
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.problem_formats import ADDRESS, UNUSED, Example, ProblemFormatContract

TASK = {"task": "Climb.", "program": "main.py", "evaluate": ["python3", "score.py", "{program}"], "metric": "height"}


@pytest.fixture(autouse=True)
def _asked(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path_factory.mktemp("user") / "config.toml"
    config.write_text('plugins.problem_formats = ["json_task"]\n')
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(config))


class TestJsonTask(ProblemFormatContract):
    """Its own problems."""

    @pytest.fixture
    def example(self) -> Example:
        return Example(
            format="json_task",
            named="climb.json",
            files={"climb.json": json.dumps(TASK), "main.py": "x = 1\n", "score.py": "print(1)\n"},
            read=("overnight.toml",),
            left_out=("score.py",),
            needed=("climb.json", "main.py"),
            unused=("climb.json", json.dumps(TASK | {UNUSED: 1})),
            proposing=(("climb.json", json.dumps(TASK | {"api_base": ADDRESS, "sandbox": {"image": "theirs"}})),),
        )


def test_the_statement_the_command_and_the_files_are_those_of_the_task(tmp_path: Path):
    write(tmp_path, json.dumps(TASK))
    problem = load_problem(tmp_path / "climb.json")
    assert (problem.settings.statement, problem.settings.score_name) == ("Climb.", "height")
    assert problem.job().command is not None
    assert [file.path for file in problem.files] == ["score.py"]
    assert problem.specification.start_program.paths == ("main.py",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "list, expected an object"),
        (json.dumps(TASK | {"metric": 1}), r"climb\.json: command\.metric"),
    ],
)
def test_a_wrong_task_is_refused_with_the_name_of_its_file(text: str, message: str, tmp_path: Path):
    write(tmp_path, text)
    with pytest.raises(UsageError, match=message):
        load_problem(tmp_path / "climb.json")


def test_the_remedy_for_the_directory_of_a_task_names_its_file(tmp_path: Path):
    write(tmp_path, json.dumps(TASK))
    with pytest.raises(SpecificationError, match="no command that scores") as caught:
        load_problem(tmp_path)
    assert caught.value.remedy == f"Name the task by its own path: {tmp_path / 'climb.json'}"


def write(folder: Path, text: str) -> None:
    for name, content in {"climb.json": text, "main.py": "x = 1\n", "score.py": "print(1)\n"}.items():
        (folder / name).write_text(content)
