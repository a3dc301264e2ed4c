"""`overnight init`: what it writes runs, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.problems import find
from tests.flows.cli.conftest import call


@pytest.mark.docker
def test_the_specification_runs_and_lacks_nothing(tmp_path: Path):
    done = call(["init", str(tmp_path / "tours")], tmp_path / "history")
    assert done.returncode == 0, done.stderr
    checked = call(["check", str(tmp_path / "tours" / "short_tour.py")], tmp_path / "history")
    assert checked.returncode == 0, checked.stderr
    for said in ("two runs agree", "confirmed", "nothing is missing"):
        assert said in checked.stderr


def test_a_name_that_ends_in_py_is_the_file_itself(tmp_path: Path):
    assert call(["init", str(tmp_path / "mine.py")], tmp_path / "history").returncode == 0
    assert (tmp_path / "mine.py").is_file()


def test_a_built_in_problem_is_copied(tmp_path: Path):
    done = call(["init", str(tmp_path / "mine"), "--from", "cap-set"], tmp_path / "history")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine" / "cap_set.py").read_text() == find("cap-set").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["there"], "exists already"), (["new", "--from", "cap-sett"], "Did you mean cap-set?")],
)
def test_what_is_there_stays_and_what_is_not_is_told(arguments: list[str], said: str, tmp_path: Path):
    there = tmp_path / "there" / "short_tour.py"
    there.parent.mkdir()
    there.write_text("mine")
    done = call(["init", str(tmp_path / arguments[0]), *arguments[1:]], tmp_path / "history")
    assert done.returncode == 2
    assert said in done.stderr
    assert there.read_text() == "mine"
    assert not (tmp_path / "new").exists()
