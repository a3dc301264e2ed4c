"""Files beside a specification that go with it: which are named, what is refused, what they make of the problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas import files
from schemas.errors import SpecificationError
from schemas.files import File, read_files
from schemas.problem import changed_since, load_problem, restore_problem

SPECIFICATION = '''"""Guess."""
# /// script
# [tool.overnight]
# inputs = [1]
# files = ["data.csv"]
# ///
@funsearch.run
def evaluate(n):
    return guess(n)

@funsearch.evolve
def guess(n):
    return n
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "problem"
    for name in ("data.csv", "more.csv", "lib/a.py", "lib/deep/b.py", "lib/__pycache__/a.pyc", "lib/.git/config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "guess.py").write_text(SPECIFICATION)
    (tmp_path / "secret").write_text("secret")
    return folder


@pytest.mark.parametrize(
    ("patterns", "paths"),
    [
        ([], []),
        (["data.csv"], ["data.csv"]),
        (["*.csv", "data.csv"], ["data.csv", "more.csv"]),
        (["lib"], ["lib/a.py", "lib/deep/b.py"]),
        (["lib/**/b.py"], ["lib/deep/b.py"]),
    ],
)
def test_files_folders_and_patterns_are_named(folder: Path, patterns: list[str], paths: list[str]):
    found = read_files(folder, patterns)
    assert [file.path for file in found] == paths
    assert [file.content.decode() for file in found] == paths


def test_a_name_that_looks_like_a_pattern_is_taken_as_it_is(folder: Path):
    (folder / "data[1].csv").write_text("it")
    assert [file.path for file in read_files(folder, ["data[1].csv"])] == ["data[1].csv"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("nowhere.csv", "no 'nowhere.csv' in"),
        ("*.txt", "no '*.txt' in"),
        ("../secret", "'../secret' is not below"),
        ("lib/../../secret", "is not below"),
        ("/etc/passwd", "'/etc/passwd' is not below"),
        ("", "is not below"),
        ("link", "'link' leads to .*secret, outside of"),
        ("folder", "leads to .*, outside of"),
        ("pipe", "no 'pipe' in"),
    ],
)
def test_what_is_not_there_or_outside_is_refused(folder: Path, pattern: str, says: str):
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "folder").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe")
    says = says.replace("*.txt", r"\*.txt")
    with pytest.raises(SpecificationError, match=says):
        read_files(folder, [pattern])


def test_too_much_is_refused_and_the_largest_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "MOST_BYTES", 2**20)
    (folder / "large.bin").write_bytes(bytes(2**20))
    with pytest.raises(SpecificationError, match=r"1 MiB together, at most 1 MiB .* largest is large.bin"):
        read_files(folder, ["large.bin", "data.csv"])


def test_they_are_part_of_the_problem_and_of_its_hash(folder: Path):
    first = load_problem(folder / "guess.py")
    assert first.files == (File("data.csv", b"data.csv"),)
    (folder / "data.csv").write_text("other")
    second = load_problem(folder / "guess.py")
    assert first.specification.hash == second.specification.hash
    assert first.hash != second.hash
    assert load_problem(folder / "guess.py", {"files": []}).hash == first.specification.hash


def test_what_changed_since_is_known(folder: Path, tmp_path: Path):
    path = folder / "guess.py"
    read = load_problem(path)
    problem = restore_problem("guess", read.specification.text, read.settings.model_dump(mode="json"), read.files)
    assert changed_since(problem, path) == []
    (folder / "data.csv").write_text("other")
    assert changed_since(problem, path) == ["data.csv"]
    (folder / "data.csv").unlink()
    path.write_text(SPECIFICATION + "\n")
    assert changed_since(problem, path) == ["guess.py", "data.csv"]
    assert changed_since(problem, tmp_path / "gone" / "guess.py") == []


def test_a_directory_takes_along_what_its_command_names(folder: Path):
    (folder / "guess.py").write_text("# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n")
    (folder / "overnight.toml").write_text(
        'files = ["*.csv", "*.py"]\ncommand.evaluate = ["python3", "lib/a.py", "{program}", "guess.py", "{input}"]\n'
    )
    problem = load_problem(folder)
    assert [file.path for file in problem.files] == ["data.csv", "lib/a.py", "more.csv"]
    assert problem.settings.files == ("*.csv", "*.py", "lib/a.py")
