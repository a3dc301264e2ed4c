"""Writing the tree of a program: only to a new folder, and nothing hidden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from overnight.flows.cli.best import write_program
from overnight.schemas.errors import UsageError
from overnight.schemas.files import File
from overnight.tasks.problems.loading.load import load_problem

SPECIFICATIONS = Path(__file__).parents[2] / "specifications"


def test_a_tree_is_written_to_an_empty_folder_as_the_problem_has_it(tmp_path: Path):
    problem = load_problem(SPECIFICATIONS / "ridge")
    (tmp_path / "tree").mkdir()
    write_program(tmp_path / "tree", problem, problem.specification.start_body)
    for name in ("position.py", "climb.py", "lib/notes.txt", "scale.json"):
        assert (tmp_path / "tree" / name).read_bytes() == (SPECIFICATIONS / "ridge" / name).read_bytes()


def test_nothing_is_written_into_a_folder_with_files(tmp_path: Path):
    problem = load_problem(SPECIFICATIONS / "ridge")
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_program(tmp_path, problem, problem.specification.start_body)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_hidden_files_of_a_run_that_was_tampered_with_are_not_written(tmp_path: Path):
    problem = load_problem(SPECIFICATIONS / "ridge")
    tampered = replace(problem, files=(*problem.files, File(".git/config", b"[core]")))
    with pytest.raises(UsageError, match=r"hidden file '.git/config'"):
        write_program(tmp_path / "tree", tampered, problem.specification.start_body)
    assert not (tmp_path / "tree").exists() or not any((tmp_path / "tree").iterdir())


@pytest.mark.parametrize("name", ["toy.py", "hill"])
def test_one_file_is_written_as_a_file(name: str, tmp_path: Path):
    problem = load_problem(SPECIFICATIONS / name)
    write_program(tmp_path / "new" / "best.py", problem, problem.specification.start_body)
    assert (tmp_path / "new" / "best.py").read_text() == problem.specification.text
