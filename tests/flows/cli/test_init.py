"""`overnight init`: the written specification runs, and no file is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.schemas.errors import SpecificationError
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.notebook import specifications_in
from tests.flows.cli.conftest import Command
from tests.notebooks import EVOLVE, RUN, write_notebook


@pytest.mark.usefixtures("plain")
def test_the_specification_runs_and_is_complete(here: Command, tmp_path: Path):
    done = here(["init", str(tmp_path / "tours")], tmp_path / "history")
    assert done.returncode == 0, done.stderr
    checked = here(["check", "--without-pace", str(tmp_path / "tours" / "short_tour.py")], tmp_path / "history")
    assert checked.returncode == 0, checked.stderr
    for message in ("two runs agree", "confirmed", "draws the start program", "nothing is missing"):
        assert message in checked.stderr


def test_a_name_that_ends_in_py_is_the_file_to_write(here: Command, tmp_path: Path):
    assert here(["init", str(tmp_path / "mine.py")], tmp_path / "history").returncode == 0
    assert (tmp_path / "mine.py").is_file()


def test_a_built_in_problem_is_copied(here: Command, tmp_path: Path):
    done = here(["init", str(tmp_path / "mine"), "--from", "cap-set"], tmp_path / "history")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine" / "cap_set.py").read_text() == find("cap-set").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["existing"], "exists already"), (["new", "--from", "cap-sett"], "Did you mean cap-set?")],
)
def test_existing_files_are_kept_and_unknown_problems_refused(
    here: Command, arguments: list[str], message: str, tmp_path: Path
):
    existing = tmp_path / "existing" / "short_tour.py"
    existing.parent.mkdir()
    existing.write_text("mine")
    done = here(["init", str(tmp_path / arguments[0]), *arguments[1:]], tmp_path / "history")
    assert done.returncode == 2
    assert message in done.stderr
    assert existing.read_text() == "mine"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("cells", "count"),
    [
        ((f'"""Sets."""\n{RUN}{EVOLVE}', "print(evaluate(3))\n"), 1),
        ((RUN + EVOLVE, EVOLVE + RUN), 2),
        (("import math\n", RUN, EVOLVE), 1),
    ],
    ids=["one cell", "two specifications", "over several cells"],
)
def test_the_specifications_of_a_notebook_become_files_that_need_inputs_only(
    here: Command, cells: tuple[str, ...], count: int, tmp_path: Path
):
    done = here(
        ["init", str(tmp_path / "mine.py"), "--from", str(write_notebook(tmp_path / "sets.ipynb", *cells))],
        tmp_path / "history",
    )
    assert done.returncode == 0, done.stderr
    written = [tmp_path / "mine.py", tmp_path / "mine_2.py"][:count]
    assert sorted(tmp_path.glob("*.py")) == written
    for path in written:
        assert f"overnight check {path}" in done.stderr
        assert load_problem(path, {"inputs": [8]}).specification.run == "evaluate"
        with pytest.raises(SpecificationError, match="no inputs"):
            load_problem(path)


def test_a_notebook_in_place_of_a_specification_is_refused_with_the_command_that_converts_it(tmp_path: Path):
    path = write_notebook(tmp_path / "sets.ipynb", RUN + EVOLVE)
    with pytest.raises(SpecificationError) as error:
        load_problem(path)
    assert f"overnight init sets.py --from {path}" in str(error.value.remedy)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "not a notebook"), ("{", "not a notebook"), ('{"cells": []}', "no code cell has @funsearch.evolve")],
)
def test_a_notebook_without_a_specification_is_refused(text: str, message: str, tmp_path: Path):
    path = tmp_path / "empty.ipynb"
    path.write_text(text)
    with pytest.raises(SpecificationError, match=message):
        specifications_in(path)
