"""`overnight init`: the written specification runs, and no file is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.problems import find
from tests.flows.cli.conftest import call


@pytest.mark.docker
def test_the_specification_runs_and_is_complete(tmp_path: Path):
    done = call(["init", str(tmp_path / "tours")], tmp_path / "history")
    assert done.returncode == 0, done.stderr
    checked = call(["check", str(tmp_path / "tours" / "short_tour.py")], tmp_path / "history")
    assert checked.returncode == 0, checked.stderr
    for message in ("two runs agree", "confirmed", "draws the start program", "nothing is missing"):
        assert message in checked.stderr


def test_a_name_that_ends_in_py_is_the_file_to_write(tmp_path: Path):
    assert call(["init", str(tmp_path / "mine.py")], tmp_path / "history").returncode == 0
    assert (tmp_path / "mine.py").is_file()


def test_a_built_in_problem_is_copied(tmp_path: Path):
    done = call(["init", str(tmp_path / "mine"), "--from", "cap-set"], tmp_path / "history")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine" / "cap_set.py").read_text() == find("cap-set").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["existing"], "exists already"), (["new", "--from", "cap-sett"], "Did you mean cap-set?")],
)
def test_existing_files_are_kept_and_unknown_problems_refused(arguments: list[str], message: str, tmp_path: Path):
    existing = tmp_path / "existing" / "short_tour.py"
    existing.parent.mkdir()
    existing.write_text("mine")
    done = call(["init", str(tmp_path / arguments[0]), *arguments[1:]], tmp_path / "history")
    assert done.returncode == 2
    assert message in done.stderr
    assert existing.read_text() == "mine"
    assert not (tmp_path / "new").exists()
