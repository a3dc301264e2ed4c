"""What a run begins with: programs of files and of earlier runs, or none, of which models write the first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.night.given_starts import create_run_from, lasting_name
from overnight.flows.report.build import build_report
from overnight.flows.report.comparison_data import score_curves
from overnight.flows.report.repeat_command import command_of
from overnight.flows.start.trust import accept
from overnight.schemas.errors import OvernightError, SpecificationError, UsageError
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.report.comparison import render_comparison, render_index
from overnight.tasks.report.page import render
from overnight.testing.fake_provider import Provider, says
from tests.flows.conftest import Call, Night
from tests.flows.nights import by_prompt, require_replay
from tests.in_process import InProcess
from tests.toys import SCORE, toy_with

pytestmark = pytest.mark.heavy


@pytest.fixture
def begin_from(toy: Path, tmp_path: Path, in_process: InProcess, sandbox_image: str):
    """Function that begins a run of the toy problem with further programs."""
    settings = {"sandbox": {"image": sandbox_image, "slots": 1}, "sampling": {"concurrency": 4}}
    return lambda *starts: create_run_from(load_problem(toy, settings), toy, LocalBackend(tmp_path), starts, seed=1)


def test_programs_of_files_are_scored_first_and_searched_from(begin_from, night: Night, tmp_path: Path):
    better = toy_with(tmp_path / "better.py", start="return offset + 9.0")
    worse = toy_with(tmp_path / "worse.py", start="return offset - 5.0")
    files: RunFiles = begin_from(str(better), str(worse))
    night(2, run_id=files.run_id)
    rows = Database(tmp_path).rows("FROM programs WHERE generation = 1 ORDER BY index")
    assert [row["score"] for row in rows] == [-1.0, -15.0]
    assert {row["proposer"] for row in rows} == {None}
    children = Database(tmp_path).rows("SELECT DISTINCT parent_ids FROM programs WHERE generation > 1")
    assert any(rows[0]["program_id"] in row["parent_ids"] for row in children)
    require_replay(files, tmp_path / "again")
    assert f"--start {better} --start {worse}" in command_of(stored_run.read_run(files), 2, None)


def test_survivors_of_an_earlier_run_or_one_of_its_programs_begin_another(begin_from, night: Night, tmp_path: Path):
    night(3, run_id="earlier")
    best = Database(tmp_path).rows("SELECT * FROM best_programs('earlier', how_many := 1)")[0]
    files = begin_from("earlier")
    programs = Database(tmp_path).rows("FROM programs WHERE run_id = ? AND generation = 1", [files.run_id])
    assert max(row["score"] for row in programs) == best["score"]
    assert all(row["parent_ids"] for row in programs)
    assert {row["sample"] for row in programs} == {0}
    night(1, run_id=files.run_id)
    (run,) = Database(tmp_path).rows("FROM runs WHERE run_id = ?", [files.run_id])
    (of_nights,) = Database(tmp_path).rows("SELECT sum(samples) AS n FROM nights WHERE run_id = ?", [files.run_id])
    assert run["samples"] == of_nights["n"], "programs that it began with are no samples"
    (only,) = Database(tmp_path).rows(
        "FROM programs WHERE run_id = ? AND generation = 1", [begin_from(f"earlier:{best['program_id']}").run_id]
    )
    assert only["parent_ids"] == [best["program_id"]]


def test_the_same_program_twice_is_one(begin_from, tmp_path: Path):
    files = [toy_with(tmp_path / name, start="return offset + 9.0") for name in ("a.py", "b.py")]
    record_of = stored_run.read_run_history(begin_from(*map(str, files)))
    assert len(record_of.programs) == 2


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("other.py", SpecificationError, "here it is guess(offset)"),
        ("broken.py", SpecificationError, "it has no score: crashed: ZeroDivisionError"),
        ("nowhere", UsageError, "no run"),
        ("earlier:ffff", UsageError, "no scored programs of earlier begin with 'ffff'"),
    ],
)
def test_what_cannot_begin_a_run_is_named_and_nothing_is_written(
    begin_from, night: Night, toy: Path, tmp_path: Path, text: str, error: type[OvernightError], said: str
):
    night(1, run_id="earlier")
    toy_with(tmp_path / "broken.py", start="return 1 / 0")
    (tmp_path / "other.py").write_text(toy.read_text().replace("guess", "other"))
    before = sorted((tmp_path / "runs").iterdir())
    given = partial(begin_from, str(tmp_path / text) if text.endswith(".py") else text)
    with pytest.raises(error, match=r"(?i)" + said.replace("(", r"\(").replace(")", r"\)")):
        given()
    assert sorted((tmp_path / "runs").iterdir()) == before


def test_what_a_schedule_begins_with_is_named_so_that_it_lasts(
    begin_from, night: Night, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    night(1, run_id="earlier")
    name = partial(lasting_name, problem=load_problem(toy, {}), history=LocalBackend(tmp_path))
    monkeypatch.chdir(toy.parent)
    assert name(toy.name) == str(toy.resolve())
    assert name("last") == "earlier"
    with pytest.raises(UsageError):
        name("last:nothing")


# Without a start program: a signature and a docstring


@pytest.fixture
def begin(tmp_path: Path, in_process: InProcess, sandbox_image: str, asks: dict[str, Any]) -> Callable[..., RunFiles]:
    """Function that begins a run of the toy problem without a start program."""
    path = toy_with(tmp_path / "stub/toy.py", start="...")
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
    (curve,) = score_curves(database, [files.run_id])
    assert curve.steps[0] == (curve.steps[0][0], run["start_score"])
    assert curve.steps[0][0] > 0, "there is no score before the first sample"
    assert curve.steps[-1][1] == run["best_score"]
    assert files.run_id in render_comparison([curve])
    assert files.run_id in render_index([curve], [])


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
    begin: Callable[..., RunFiles], tmp_path: Path
):
    path = toy_with(tmp_path / "wrong.py", start="return offset / 0")
    with pytest.raises(SpecificationError, match="it has no score"):
        begin(str(path))


@pytest.mark.parametrize("body", ["...", "pass", 'raise NotImplementedError("later")', ""])
def test_check_says_that_there_is_none_and_checks_the_rest(
    body: str, tmp_path: Path, call: Call, in_process: InProcess, sandbox_image: str
):
    path = toy_with(tmp_path / "stub/toy.py", start=body)
    code, said = call("check", "--without-pace", path, "--image", sandbox_image)
    assert code == 0, said
    assert "no start program: `guess(offset)` is to be written" in said
    assert "the scoring runs as far as to call what is to be written" in said
    toy_with(path, score=SCORE.replace("abs", "abc"), start=body)
    code, said = call("check", "--without-pace", path, "--image", sandbox_image)
    assert code == 2
    assert "the scoring fails by itself: crashed: NameError" in said
