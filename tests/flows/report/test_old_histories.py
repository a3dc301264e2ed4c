"""Runs that 0.3.0 exported: every later version reads, queries, reports, exports, replays and goes on with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from overnight.flows.cli.main import run
from overnight.flows.night import rescore
from overnight.flows.night.open_run import read_state
from overnight.flows.report.build import build_report
from overnight.tasks.history import stored_run
from overnight.tasks.history.archive import describe, pack, unpack
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.find_run import find_run
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.rows import read_rows
from overnight.testing.made import create, grow

FIXTURES = Path(__file__).parents[2] / "fixtures"
ARCHIVES = {
    "0.3-agent-binpack": 11,
    "0.3-answers-bin-packing-or": 24,
    "0.3-answers-erdos-overlap": 21,
    "0.3-answers-kakeya-needle": 19,
    "0.3-answers-sorting-network": 13,
}
"""Exported runs, and how many programs of each are scored."""


QUICK = "0.3-answers-sorting-network"
"""A run of a few functions, which this process evaluates; programs of the others need processes of their own."""


def only(*names: str) -> pytest.MarkDecorator:
    """Try all runs, those of other names by `make soak` alone, since their programs take minutes."""
    tried = [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in ARCHIVES]
    return pytest.mark.parametrize("name", tried, indirect=True)


@pytest.fixture
def evaluates(name: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("plain" if name == QUICK else "processes")


@pytest.fixture(scope="module", params=list(ARCHIVES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def files(name: str, tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """The run of an archive, beside one of this version."""
    history = LocalBackend(tmp_path_factory.mktemp("history"))
    grow(create(history), 2)
    found, is_new = unpack(FIXTURES / f"{name}.tar.zst", history)
    assert is_new
    return found


def test_every_exported_run_is_tried():
    assert {path.name.removesuffix(".tar.zst") for path in FIXTURES.glob("*.tar.zst")} == set(ARCHIVES)


def test_its_import_names_a_command_that_works(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["import", str(FIXTURES / f"{name}.tar.zst"), "--history", str(tmp_path)]) == 0
    # Only whoever runs a search can name a folder as its model; the agent's server is an address to accept.
    expected = "overnight resume" if name == "0.3-agent-binpack" else "overnight rescore"
    assert f"{expected} {find_run(LocalBackend(tmp_path), 'last').run_id}" in capsys.readouterr().err


def test_its_record_is_read_and_its_search_can_go_on(files: RunFiles, name: str):
    then, past = stored_run.read_run(files), stored_run.read_run_history(files, samples=1)
    assert len(past.programs) == ARCHIVES[name]
    algorithm = then.problem.settings.search.algorithm
    assert {change.niche for step in past.steps for change in step.all_changes} <= set(algorithm.founded_niches)
    state = read_state(files, then)
    assert state.best.id in state.programs
    assert state.generations == max(files.committed())


def test_views_answer_for_it_beside_a_run_of_this_version(files: RunFiles):
    database = Database(files.backend.root)
    query = "SELECT samples, best_score - start_score AS gain, best_program_id FROM runs WHERE run_id = ?"
    (of_run,) = database.rows(query, [files.run_id])
    columns = "max(sample) AS sample, bool_and(night >= 0) AS has_night, bool_and(niche >= '0') AS has_niche"
    (last,) = database.rows(f"SELECT {columns} FROM programs WHERE run_id = ?", [files.run_id])
    assert last == {"sample": of_run["samples"], "has_night": True, "has_niche": True}
    gains = [row["gain"] for row in database.rows("FROM improvements(?)", [files.run_id])]
    assert sum(gains) == pytest.approx(of_run["gain"])
    operators = {row["operator"] for row in database.rows("FROM lineage(?)", [of_run["best_program_id"]])}
    assert operators != {None}
    assert len(database.rows("PIVOT progress() ON generation USING max(best_score) GROUP BY run_id")) == 2


def test_it_is_reported(files: RunFiles):
    report = build_report(Database(files.backend.root), files)
    assert report.best.program_id in {program.id for program in stored_run.read_run_history(files).programs.values()}
    assert report.niches


@only(QUICK, "0.3-agent-binpack")
def test_its_best_is_shown(files: RunFiles, capsys: pytest.CaptureFixture[str]):
    (row,) = Database(files.backend.root).rows("FROM runs WHERE run_id = ?", [files.run_id])
    for command in (["best", files.run_id], ["runs"], ["show", row["best_program_id"], "--why"]):
        assert run([*command, "--history", files.backend.location]) == 0
    said = capsys.readouterr()
    assert re.search(r"program [0-9a-f]{12}", said.err)
    assert files.run_id in said.out


def test_it_is_exported_and_imported_as_it_is(files: RunFiles, tmp_path: Path):
    pack(files, tmp_path / "run.tar.zst")
    again, is_new = unpack(tmp_path / "run.tar.zst", LocalBackend(tmp_path / "there"))
    assert is_new
    assert describe(again) == describe(files)


@only(QUICK, "0.3-agent-binpack")
@pytest.mark.usefixtures("evaluates")
def test_it_is_replayed(files: RunFiles, capsys: pytest.CaptureFixture[str]):
    assert run(["replay", files.run_id, "--trust-settings", "--history", files.backend.location]) == 0
    assert "without a model: the same history" in capsys.readouterr().out


class _Found(Exception):
    """The programs to rescore are found."""


def test_programs_to_rescore_are_found_also_where_a_claim_fell(files: RunFiles, monkeypatch: pytest.MonkeyPatch):
    def judge_of(_: object) -> None:
        raise _Found

    monkeypatch.setattr(rescore, "judge_of", judge_of)
    with pytest.raises(_Found):
        rescore.rescore(files, stored_run.read_run(files).problem, Path("problem.py"), files.backend, most=3)


@only(QUICK)
@pytest.mark.usefixtures("evaluates")
def test_rescoring_begins_a_run_from_its_programs(files: RunFiles):
    flags = ["--most", "3", "--set", "sampling.models=builtin/mutate", "--history", files.backend.location]
    assert run(["rescore", files.run_id, *flags]) == 0
    new = find_run(files.backend, "last")
    assert stored_run.read_run(new).rescored_from == files.run_id
    assert {row["outcome"] for row in read_rows(new, "programs", 1)} == {"scored"}
