"""Files of a problem: patterns that name them, refused ones, and their part in the problem's hash."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from overnight.schemas.errors import SpecificationError
from overnight.schemas.files import File
from overnight.tasks.problems.loading import problem_files
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.problem_files import read_files
from overnight.tasks.problems.loading.stored_problem import changed_since
from overnight.tasks.program.make_problem import restore_problem

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
def test_names_of_files_and_folders_and_patterns_are_read(folder: Path, patterns: list[str], paths: list[str]):
    found = read_files(folder, patterns)
    assert [file.path for file in found] == paths
    assert [file.content.decode() for file in found] == paths


def test_an_existing_name_is_not_read_as_a_pattern(folder: Path):
    (folder / "data[1].csv").write_text("it")
    assert [file.path for file in read_files(folder, ["data[1].csv"])] == ["data[1].csv"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nowhere.csv", "no 'nowhere.csv' in"),
        ("*.txt", "no '*.txt' in"),
        ("../secret", "'../secret' is not below"),
        ("lib/../../secret", "is not below"),
        ("/etc/passwd", "'/etc/passwd' is not below"),
        ("", "is not below"),
        ("link", "'link' is a link to .*secret, outside of"),
        ("folder", "is a link to .*, outside of"),
        ("pipe", "no 'pipe' in"),
    ],
)
def test_missing_and_outside_files_are_refused(folder: Path, pattern: str, message: str):
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "folder").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe")
    message = message.replace("*.txt", r"\*.txt")
    with pytest.raises(SpecificationError, match=message):
        read_files(folder, [pattern])


def test_too_large_files_are_refused_and_the_largest_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(problem_files, "MAX_BYTES", 2**20)
    (folder / "large.bin").write_bytes(bytes(2**20))
    with pytest.raises(SpecificationError, match=r"1 MiB together, expected at most 1 MiB; the largest is large.bin"):
        read_files(folder, ["large.bin", "data.csv"])


def test_files_are_part_of_the_problem_and_of_its_hash(folder: Path):
    first = load_problem(folder / "guess.py")
    assert first.files == (File("data.csv", b"data.csv"),)
    (folder / "data.csv").write_text("other")
    second = load_problem(folder / "guess.py")
    assert first.specification.text == second.specification.text
    assert first.hash != second.hash
    assert (
        load_problem(folder / "guess.py", {"files": []}).hash == sha256(first.specification.text.encode()).hexdigest()
    )


def test_files_that_changed_since_are_found(folder: Path, tmp_path: Path):
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


def test_files_that_the_command_names_are_part_of_a_directory(folder: Path):
    (folder / "guess.py").write_text("# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n")
    (folder / "overnight.toml").write_text(
        'files = ["*.csv", "*.py"]\ncommand.evaluate = ["python3", "lib/a.py", "{program}", "guess.py", "{input}"]\n'
    )
    problem = load_problem(folder)
    assert [file.path for file in problem.files] == ["data.csv", "lib/a.py", "more.csv"]
    assert problem.settings.files == ("*.csv", "*.py", "lib/a.py")
