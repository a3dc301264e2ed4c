"""A run begins with further programs: of files, and of earlier runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from overnight.flows.night.given_starts import create_run_from, lasting_name
from overnight.flows.report.repeat_command import command_of
from overnight.schemas.errors import OvernightError, SpecificationError, UsageError
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from tests.flows.conftest import Night
from tests.flows.nights import require_replay
from tests.in_process import InProcess


@pytest.fixture
def begin(toy: Path, tmp_path: Path, in_process: InProcess, sandbox_image: str):
    """Function that begins a run of the toy problem with further programs."""
    settings = {"sandbox": {"image": sandbox_image, "slots": 1}, "sampling": {"concurrency": 4}}
    return lambda *starts: create_run_from(load_problem(toy, settings), toy, LocalBackend(tmp_path), starts, seed=1)


def variant(toy: Path, path: Path, body: str) -> Path:
    path.write_text(toy.read_text().replace("return offset + 1.0", body))
    return path


def test_programs_of_files_are_scored_first_and_searched_from(begin, night: Night, toy: Path, tmp_path: Path):
    better = variant(toy, tmp_path / "better.py", "return offset + 9.0")
    worse = variant(toy, tmp_path / "worse.py", "return offset - 5.0")
    files: RunFiles = begin(str(better), str(worse))
    night(2, run_id=files.run_id)
    rows = Database(tmp_path).rows("FROM programs WHERE generation = 1 ORDER BY index")
    assert [row["score"] for row in rows] == [-1.0, -15.0]
    assert {row["proposer"] for row in rows} == {None}
    children = Database(tmp_path).rows("SELECT DISTINCT parent_ids FROM programs WHERE generation > 1")
    assert any(rows[0]["program_id"] in row["parent_ids"] for row in children)
    require_replay(files, tmp_path / "again")
    assert f"--start {better} --start {worse}" in command_of(stored_run.read_run(files), 2)


def test_survivors_of_an_earlier_run_or_one_of_its_programs_begin_another(begin, night: Night, tmp_path: Path):
    night(3, run_id="earlier")
    best = Database(tmp_path).rows("SELECT * FROM best_programs('earlier', how_many := 1)")[0]
    files = begin("earlier")
    programs = Database(tmp_path).rows("FROM programs WHERE run_id = ? AND generation = 1", [files.run_id])
    assert max(row["score"] for row in programs) == best["score"]
    assert all(row["parent_ids"] for row in programs)
    (only,) = Database(tmp_path).rows(
        "FROM programs WHERE run_id = ? AND generation = 1", [begin(f"earlier:{best['program_id']}").run_id]
    )
    assert only["parent_ids"] == [best["program_id"]]


def test_the_same_program_twice_is_one(begin, toy: Path, tmp_path: Path):
    files = [variant(toy, tmp_path / name, "return offset + 9.0") for name in ("a.py", "b.py")]
    record_of = stored_run.read_run_history(begin(*map(str, files)))
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
    begin, night: Night, toy: Path, tmp_path: Path, text: str, error: type[OvernightError], said: str
):
    night(1, run_id="earlier")
    variant(toy, tmp_path / "broken.py", "return 1 / 0")
    (tmp_path / "other.py").write_text(toy.read_text().replace("guess", "other"))
    before = sorted((tmp_path / "runs").iterdir())
    given = partial(begin, str(tmp_path / text) if text.endswith(".py") else text)
    with pytest.raises(error, match=r"(?i)" + said.replace("(", r"\(").replace(")", r"\)")):
        given()
    assert sorted((tmp_path / "runs").iterdir()) == before


def test_what_a_schedule_begins_with_is_named_so_that_it_lasts(
    begin, night: Night, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    night(1, run_id="earlier")
    name = partial(lasting_name, problem=load_problem(toy, {}), history=LocalBackend(tmp_path))
    monkeypatch.chdir(toy.parent)
    assert name(toy.name) == str(toy.resolve())
    assert name("last") == "earlier"
    with pytest.raises(UsageError):
        name("last:nothing")
