"""Directories in which several files evolve: which files these are, and which are refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.job import Command
from overnight.tasks.problems.loading.load import is_of_another_tool, load_problem
from overnight.tasks.problems.loading.stored_problem import changed_since, with_overrides
from overnight.tasks.program.evolving_files import EvolvingFiles
from overnight.tasks.program.make_problem import restore_problem

RIDGE = Path(__file__).parents[1] / "specifications" / "ridge"
TASK = Path(__file__).parents[1] / "task_formats" / "openevolve" / "line_fit"


@pytest.fixture
def ridge(tmp_path: Path) -> Path:
    """A copy of the example that a test may change."""
    return Path(shutil.copytree(RIDGE, tmp_path / "ridge"))


def program(*names: str) -> dict[str, Any]:
    return {"command": {"program": list(names)}}


def paths(problem_path: Path, *names: str) -> tuple[str, ...]:
    return load_problem(problem_path, program(*names)).specification.start_program.paths


def test_names_and_patterns_say_which_files_evolve_and_the_first_is_the_program():
    problem = load_problem(RIDGE)
    assert problem.specification.start_program.paths == ("position.py", "lib/offset.py")
    assert problem.settings.command.program == ("position.py", "lib/offset.py")
    arguments = ("python3", "climb.py", "{program}", "{input}")
    evolving = ("position.py", "lib/offset.py")
    assert problem.job().command == Command("position.py", arguments, "height", files=evolving)


def test_files_that_evolve_are_not_delivered_twice():
    assert [file.path for file in load_problem(RIDGE).files] == ["climb.py", "lib/notes.txt", "scale.json"]


def test_patterns_may_overlap_and_keep_their_order(ridge: Path):
    (ridge / "lib" / "deep").mkdir()
    (ridge / "lib" / "deep" / "more.py").write_text("y = 1\n")
    (ridge / "lib" / "__pycache__").mkdir()
    (ridge / "lib" / "__pycache__" / "old.py").write_bytes(b"\xff")
    found = paths(ridge, "lib/**/*.py", "position.py", "./lib/offset.py")
    assert found == ("lib/offset.py", "lib/deep/more.py", "position.py")


def test_one_file_in_an_array_is_the_same_as_its_name():
    problem = load_problem(RIDGE, program("position.py"))
    assert problem.settings.command.program == "position.py"
    assert problem.specification == load_problem(RIDGE, {"command": {"program": "position.py"}}).specification


def test_one_file_in_a_folder_may_evolve_alone():
    assert paths(RIDGE, "lib/offset.py") == ("lib/offset.py",)


def test_a_task_of_another_tool_may_evolve_several_files(tmp_path: Path):
    task = shutil.copytree(TASK, tmp_path / "task")
    (task / "helper.py").write_text("x = 1\n")
    problem = load_problem(task, program("initial_program.py", "helper.py"))
    assert is_of_another_tool(problem)
    assert problem.specification.start_program.paths == ("initial_program.py", "helper.py")


def test_dependencies_of_every_evolving_file_count(ridge: Path):
    block = '# /// script\n# dependencies = ["{}"]\n# ///\n'
    for name, package in (("position.py", "six"), ("lib/offset.py", "attrs")):
        (ridge / name).write_text(block.format(package) + (ridge / name).read_text())
    assert set(load_problem(ridge).dependencies.packages) == {"attrs", "six"}


def test_changed_files_are_named(ridge: Path):
    problem = load_problem(ridge)
    assert changed_since(problem, ridge) == []
    (ridge / "lib" / "offset.py").write_text("def offset(): return 2.0\n")
    (ridge / "scale.json").write_text("{}")
    assert changed_since(problem, ridge) == ["lib/offset.py", "scale.json"]
    (ridge / "position.py").unlink()
    assert changed_since(problem, ridge) == ["position.py", "lib/offset.py", "scale.json"]


def test_other_settings_leave_the_files(tmp_path: Path):
    problem = load_problem(RIDGE)
    changed = with_overrides(problem, tmp_path, {"limits": {"wall_s": 9}})
    assert (changed.specification, changed.job().command) == (problem.specification, problem.job().command)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("position.py", "lib/*.rs"), r"no file 'lib/\*.rs'"),
        (("position.py", "gone.py"), "no file 'gone.py'"),
        (("position.py", "lib"), "no file 'lib'"),
        (("position.py", "../ridge/position.py"), "is not below"),
        (("position.py", "../*.py"), "is not below"),
        (("position.py", "/etc/host*"), "is not below"),
        (("position.py", "/etc/hosts"), "is not below"),
        (("position.py", ".secret.py"), "is hidden"),
        (("position.py", ""), "is not below"),
        (("position.py", "a\0b"), "is not below"),
        (("position.py", "lib/link.py"), "outside of"),
        (("position.py", "lib/l*.py"), "outside of"),
        (("position.py", "linked/*.py"), "outside of"),
        (("position.py", "pipe.py"), "not a regular file"),
        (("position.py", "large.py"), "MiB, expected at most"),
        (("position.py", "latin.py"), "not UTF-8"),
        (("many/*.py",), "evolving files, expected 1 to"),
        (("x.py",) * 200, "at most 100"),
        (("half.py", "position.py"), "half.py:1: EVOLVE-BLOCK-START without"),
    ],
)
def test_files_that_may_not_evolve_are_refused(names: tuple[str, ...], message: str, ridge: Path):
    outside = ridge.parent / "outside"
    outside.mkdir()
    (outside / "key.py").write_text("secret = 1\n")
    (ridge / ".secret.py").write_text("secret = 1\n")
    (ridge / "lib" / "link.py").symlink_to(outside / "key.py")
    (ridge / "linked").symlink_to(outside)
    os.mkfifo(ridge / "pipe.py")
    (ridge / "large.py").write_bytes(b"#" * (5 * 2**20))
    (ridge / "latin.py").write_bytes(b"x = '\xe9'\n")
    (ridge / "half.py").write_text("# EVOLVE-BLOCK-START\n")
    (ridge / "many").mkdir()
    for number in range(101):
        (ridge / "many" / f"{number}.py").write_text("x = 1\n")
    with pytest.raises((SpecificationError, UsageError), match=message):
        load_problem(ridge, program(*names))


def test_one_name_outside_of_an_array_must_still_be_in_the_directory_itself():
    with pytest.raises(SpecificationError, match="expected one file in the directory itself") as caught:
        load_problem(RIDGE, {"command": {"program": "lib/offset.py"}})
    assert caught.value.remedy is not None
    assert '["lib/offset.py"]' in caught.value.remedy


@pytest.mark.parametrize(
    "bundle",
    [
        "x = 1",
        "=== position.py, 1 lines ===\nx = 1",
        "=== lib/offset.py, 1 lines ===\nx = 1\n=== position.py, 1 lines ===\nx = 1",
        "=== ../position.py, 1 lines ===\nx = 1\n=== lib/offset.py, 1 lines ===\nx = 1",
    ],
)
def test_a_stored_problem_with_other_files_is_refused(bundle: str):
    problem = load_problem(RIDGE)
    stored = problem.settings.model_dump(mode="json")
    with pytest.raises(SpecificationError):
        restore_problem(problem.name, bundle, stored, problem.files)
    stored["command"]["program"] = ["../position.py", "lib/offset.py"]
    with pytest.raises(SpecificationError):
        restore_problem(problem.name, bundle, stored, problem.files)


def test_a_stored_problem_whose_evolving_file_is_a_folder_of_another_is_refused():
    problem = load_problem(RIDGE)
    stored = problem.settings.model_dump(mode="json")
    stored["command"]["program"] = ["position.py", "lib"]
    text = ProgramBundle((("position.py", "x = 1\n"), ("lib", "x = 1\n"))).encode()
    with pytest.raises(SpecificationError, match="a file and a folder"):
        restore_problem(problem.name, text, stored, problem.files)


def test_a_body_of_other_files_is_refused():
    skeleton = load_problem(RIDGE).specification
    assert isinstance(skeleton, EvolvingFiles)
    body = ProgramBundle((("position.py", "x = 1"), ("climb.py", "print(9)"))).encode()
    for use in (skeleton.split, skeleton.program, skeleton.code_hash):
        with pytest.raises(SpecificationError, match=r"has the files position.py, climb.py, expected"):
            use(body)
