"""Files of a problem are read only from its folder: links outside, pipes, devices and large files are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.files import File, require_distinct
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.stored_problem import changed_since, with_overrides
from overnight.tasks.program import problem_folder
from overnight.tasks.program.make_problem import restore_problem

SPECIFICATION = '''"""Guess."""
# /// script
# [tool.overnight]
# inputs = [1]
# ///
@funsearch.run
def evaluate(n):
    return guess(n)

@funsearch.evolve
def guess(n):
    return n
'''
COMMAND = 'command.evaluate = ["python3", "evaluate.py", "{program}"]\ncommand.program = "main.py"\n'
SECRET = '["secret"]'


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "private.json"
    path.write_text(SECRET)
    return path


@pytest.fixture
def folder(tmp_path: Path, outside: Path) -> Path:
    """A specification, a directory and two tasks of other tools, all valid."""
    files = {
        "guess.py": SPECIFICATION,
        "own/main.py": "x = 1\n",
        "own/evaluate.py": "print(1)\n",
        "own/overnight.toml": COMMAND,
        "openevolve/initial_program.py": "x = 1\n",
        "openevolve/evaluator.py": "import helper\ndef evaluate(path): pass\n",
        "shinka/initial.py": "x = 1\n",
        "shinka/evaluate.py": "results_dir = 1\n",
    }
    for name, text in files.items():
        (tmp_path / "problem" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "problem" / name).write_text(text)
    return tmp_path / "problem"


def linked(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def piped(path: Path, _: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["../private.json", "link.json", "pipe.json", "linked/private.json", "none.json"])
def test_an_input_file_must_be_in_the_folder(name: str, folder: Path, outside: Path):
    (folder / "link.json").symlink_to(outside)
    (folder / "linked").symlink_to(outside.parent)
    os.mkfifo(folder / "pipe.json")
    with pytest.raises(SpecificationError, match="input file"):
        load_problem(folder / "guess.py", {"inputs": [name]})
    with pytest.raises(SpecificationError, match="input file"):
        load_problem(folder / "guess.py", {"inputs": [str(outside)]})


@pytest.mark.parametrize("program", ["../private.json", "link.py", "/etc/passwd", "pipe.py"])
def test_a_program_named_on_the_command_line_must_be_in_the_folder(program: str, folder: Path, outside: Path):
    (folder / "own" / "link.py").symlink_to(outside)
    os.mkfifo(folder / "own" / "pipe.py")
    with pytest.raises(SpecificationError):
        load_problem(folder / "own", {"command": {"program": program}})


@pytest.mark.parametrize("pattern", ["link", "link/*", "link/**", "*/private.json", "lin?/**/*"])
def test_patterns_do_not_follow_links_out_of_the_folder(pattern: str, folder: Path, outside: Path):
    (folder / "link").symlink_to(outside.parent)
    with pytest.raises(SpecificationError, match="outside of"):
        load_problem(folder / "guess.py", {"files": [pattern]})


def test_links_within_the_folder_are_followed(folder: Path):
    (folder / "data").mkdir()
    (folder / "data" / "inputs.json").write_text("[7]")
    (folder / "link.json").symlink_to("data/inputs.json")
    (folder / "more").symlink_to("data")
    problem = load_problem(folder / "guess.py", {"inputs": ["link.json"], "files": ["more", "link.json"]})
    assert problem.settings.inputs == ([7],)
    assert [file.path for file in problem.files] == ["link.json", "more/inputs.json"]


def test_the_specification_that_a_user_names_may_be_a_link_and_files_beside_the_link_count(
    folder: Path, tmp_path: Path
):
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "mine.py").symlink_to(folder / "guess.py")
    (desk / "inputs.json").write_text("5")
    problem = load_problem(desk / "mine.py", {"inputs": ["inputs.json"]})
    assert problem.settings.inputs == (5,)
    assert changed_since(problem, desk / "mine.py") == []


def test_file_names_in_a_stored_run_are_not_followed(folder: Path, outside: Path):
    read = load_problem(folder / "guess.py")
    settings = read.settings.model_dump(mode="json") | {"validation": ["private.json"]}
    problem = restore_problem("guess", read.specification.text, settings)
    again = with_overrides(problem, outside.parent / "guess.py", {"inputs": [2]})
    assert again.settings.validation == ("private.json",)
    with pytest.raises(SpecificationError, match="input file"):
        with_overrides(problem, folder / "guess.py", {"inputs": ["../private.json"]})


def test_changed_files_are_looked_for_only_in_the_folder(folder: Path, outside: Path):
    (folder / "data.csv").write_text("1")
    problem = load_problem(folder / "guess.py", {"files": ["data.csv"]})
    linked(folder / "data.csv", outside)
    assert changed_since(problem, folder / "guess.py") == ["data.csv"]
    piped(folder / "data.csv", outside)
    assert changed_since(problem, folder / "guess.py") == ["data.csv"]
    piped(folder / "guess.py", outside)
    assert changed_since(problem, folder / "guess.py") == ["guess.py", "data.csv"]


def test_large_files_are_refused_before_they_are_read(folder: Path):
    for name in ("inputs.json", "overnight.toml", "large.py"):
        with (folder / name).open("wb") as file:
            file.truncate(2**40)
    for path, overrides in (("guess.py", {}), ("large.py", {}), ("guess.py", {"inputs": ["inputs.json"]})):
        with pytest.raises(SpecificationError, match="MiB"):
            load_problem(folder / path, overrides)
        (folder / "overnight.toml").unlink(missing_ok=True)


def test_a_pattern_that_visits_too_many_files_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(problem_folder, "MAX_ENTRIES", 5)
    with pytest.raises(SpecificationError, match="more than 5 files and folders"):
        load_problem(folder / "guess.py", {"files": ["**/*.csv"]})


BAD_PATHS = [
    *("", "/etc/passwd", "../Dockerfile", "a/../../b", "a//b", "a/", "./a", "a/./b", "..", "."),
    *("a\\..\\b", "a\0b", "a\nb", "\u202eb", "\udc80", "a" * 256, "a/" * 600 + "b"),
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_could_leave_its_folder_is_refused(path: str):
    with pytest.raises(SpecificationError, match="is not a path inside"):
        File(path, b"")


@pytest.mark.parametrize(("paths", "message"), [(["a", "b", "a"], "twice"), (["a/b", "a"], "a file and a folder")])
def test_files_with_conflicting_paths_are_refused(paths: list[str], message: str):
    require_distinct([File(path, b"") for path in ("a1", "c/d", "c/e")])
    with pytest.raises(SpecificationError, match=message):
        require_distinct([File(path, b"") for path in paths])


IMAGES = {
    **dict.fromkeys(
        [
            *("overnight-sandbox:latest", "python:3.12-slim", "ghcr.io/a/b_c:x", "localhost:5000/a", "[::1]:5000/a:b"),
            *("sha256:" + "a" * 64, "a@sha256:" + "0" * 64, "Registry.Example.com/a/b", "0123456789ab"),
        ],
        True,
    ),
    **dict.fromkeys(
        ["", "a\nRUN id", "a b", "a\tb", "-a", "--platform=x", "$HOME", "a\\", "a:b:c", "../a", "a" * 600, "a`"], False
    ),
}


@pytest.mark.parametrize("image", IMAGES)
def test_only_valid_image_names_are_accepted(image: str, folder: Path):
    settings = {"sandbox": {"image": image}}
    if IMAGES[image]:
        assert load_problem(folder / "guess.py", settings).settings.sandbox.image == image
    else:
        with pytest.raises(UsageError, match=r"sandbox\.image"):
            load_problem(folder / "guess.py", settings)


def test_a_byte_order_mark_at_the_begin_of_a_file_is_left_out(tmp_path: Path):
    path = tmp_path / "guess.py"
    path.write_text(SPECIFICATION, encoding="utf-8-sig")
    assert load_problem(path).specification.text == SPECIFICATION
