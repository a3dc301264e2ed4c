"""A run without a start program: a signature and a docstring, of which models write the first programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.night.given_starts import create_run_from
from overnight.flows.report.build import build_report
from overnight.flows.start.trust import accept
from overnight.schemas.errors import SpecificationError, UsageError
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.report.page import render
from overnight.testing.fake_provider import Provider, says
from tests.flows.conftest import Call, Night
from tests.flows.night.test_feedback import by_prompt
from tests.flows.nights import require_replay
from tests.in_process import InProcess

pytestmark = pytest.mark.heavy


def stub(toy: Path, folder: Path, body: str = "...") -> Path:
    """Return the toy problem with a signature and a docstring alone."""
    path = folder / "stub" / toy.name
    path.parent.mkdir()
    path.write_text(toy.read_text().replace("return offset + 1.0", body))
    return path


@pytest.fixture
def begin(
    toy: Path, tmp_path: Path, in_process: InProcess, sandbox_image: str, asks: dict[str, Any]
) -> Callable[..., RunFiles]:
    """Function that begins a run of the toy problem without a start program."""
    path = stub(toy, tmp_path)
    asks["sampling"]["concurrency"] = 16
    settings = {**asks, "sandbox": {"image": sandbox_image, "slots": 1}}

    def begin(*starts: str) -> RunFiles:
        said = list[str]()
        problem = load_problem(path, settings)
        accept(problem, settings)
        files = create_run_from(problem, path, LocalBackend(tmp_path), starts, seed=1, tell=said.append)
        assert starts or "there is no start program: `guess(offset)` is to be written" in said[0]
        return files

    return begin


def test_the_first_programs_with_a_score_begin_the_search_and_a_replay_gives_the_same(
    begin: Callable[..., RunFiles], night: Night, provider: Provider, tmp_path: Path
):
    provider.script = by_prompt
    files = begin()
    night(2, run_id=files.run_id)
    night(2, run_id=files.run_id)
    require_replay(files, tmp_path / "again")
    database = Database(tmp_path)
    prompts = [row["prompt"] for row in database.rows("FROM programs WHERE generation = 1 ORDER BY index")]
    assert "No version has a score yet." in prompts[0]
    assert "Write `guess_v1`: the first version of `guess_v0`. Make it a simple, direct one" in prompts[0]
    assert "Make it an exhaustive one" in prompts[2]
    (start,) = database.rows("SELECT outcome, score FROM programs WHERE generation = 0")
    assert start == {"outcome": "crashed", "score": None}
    lives = database.rows("SELECT count(DISTINCT niche) AS niches FROM population GROUP BY program_id")
    assert max(row["niches"] for row in lives) == 3, "one program founds all niches"
    (run,) = database.rows("SELECT start_score, best_score FROM runs")
    assert run["start_score"] <= run["best_score"] < 0
    page = render(build_report(database, files))
    assert "first program with a score" in page


def test_where_nothing_has_a_score_the_night_says_what_fails_and_there_is_no_report(
    begin: Callable[..., RunFiles], night: Night, provider: Provider, tmp_path: Path
):
    body = "```python\ndef guess(offset):\n    return nothing + {0}.{1}\n```"
    provider.script = lambda number, request: says(
        request, *[body.format(number, place) for place in range(request.get("n", 1))]
    )
    files = begin()
    night(1, run_id=files.run_id)
    said = files.night_log(1).read_text()
    assert "nothing has a score yet; 6 of 6 samples are crashed: NameError: name 'nothing' is not defined" in said
    with pytest.raises(UsageError, match=r"no program of run .* has a score yet"):
        build_report(Database(tmp_path), files)
    require_replay(files, tmp_path / "again")


def test_programs_of_files_begin_a_search_in_its_place(
    begin: Callable[..., RunFiles], night: Night, provider: Provider, toy: Path, tmp_path: Path
):
    provider.script = by_prompt
    files = begin(str(shutil.copy(toy, tmp_path / "whole.py")))
    night(1, run_id=files.run_id)
    require_replay(files, tmp_path / "again")
    rows = Database(tmp_path).rows("SELECT generation, prompt FROM programs WHERE generation = 2")
    assert all("return offset + 1.0" in row["prompt"] for row in rows)


def test_a_start_program_that_fails_is_none_only_if_it_is_still_to_be_written(
    begin: Callable[..., RunFiles], toy: Path, tmp_path: Path
):
    path = tmp_path / "wrong.py"
    path.write_text(toy.read_text().replace("return offset + 1.0", "return offset / 0"))
    with pytest.raises(SpecificationError, match="it has no score"):
        begin(str(path))


@pytest.mark.parametrize("body", ["...", "pass", 'raise NotImplementedError("later")', ""])
def test_check_says_that_there_is_none_and_checks_the_rest(
    body: str, toy: Path, tmp_path: Path, call: Call, in_process: InProcess, sandbox_image: str
):
    path = stub(toy, tmp_path, body)
    code, said = call("check", path, "--image", sandbox_image)
    assert code == 0, said
    assert "no start program: `guess(offset)` is to be written" in said
    assert "the scoring runs as far as to call what is to be written" in said
    path.write_text(path.read_text().replace("return -abs(", "return -abc("))
    code, said = call("check", path, "--image", sandbox_image)
    assert code == 2
    assert "the scoring fails by itself: crashed: NameError" in said
