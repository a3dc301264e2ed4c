"""Runs that 0.1 and 0.2 exported: they are read, queried, reported, exported and rescored, and not gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.flows.cli.main import run
from overnight.flows.night.open_run import open_run
from overnight.flows.report.build import build_report
from overnight.schemas.errors import UsageError
from overnight.tasks.history import stored_run
from overnight.tasks.history.archive import describe, pack, unpack
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, find_run
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.rows import read_rows
from overnight.testing.made import create, grow

FIXTURES = Path(__file__).parents[2] / "fixtures"
ARCHIVES = {
    "0.1-directory": 24,
    "0.1-islands-reset": 321,
    "0.1-openevolve-task": 111,
    "0.1-paper-mode": 255,
    "0.1-several-functions-feedback": 62,
    "0.2-answers-binpack-12x4-1": 50,
    "0.2-answers-corners-48x1": 48,
    "0.2-operators-tuner-capset": 516,
}
"""Exported runs, and how many programs of each are scored."""

RESCORED = {"0.1-directory", "0.2-operators-tuner-capset"}
"""A run of each version and each kind of problem; the others are rescored by `make soak`."""


LIKE_OTHERS = ("0.1-openevolve-task", "0.2-answers-binpack-12x4-1", "0.2-answers-corners-48x1")
"""Runs of kinds that others are of, too: `make soak` tries them."""


@pytest.fixture
def charts() -> None:
    """They are drawn."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ()) for name in ARCHIVES],
)
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


def test_the_record_is_read_under_present_names(files: RunFiles, name: str):
    then, past = stored_run.read_run(files), stored_run.read_run_history(files, samples=2)
    assert len(past.programs) == ARCHIVES[name]
    algorithm = then.problem.settings.search.algorithm
    assert {change.niche for step in past.steps for change in step.all_changes} <= set(algorithm.founded_niches)
    expected = "funsearch" if name == "0.1-paper-mode" else "islands" if name < "0.2" else "greedy"
    assert algorithm.algorithm_name() == expected
    assert then.problem.settings.tuner.enabled == (name > "0.2")


def test_views_answer_for_runs_of_several_versions(files: RunFiles, name: str):
    database = Database(files.backend.root)
    query = "SELECT samples, best_score - start_score AS gain, best_program_id FROM runs WHERE run_id = ?"
    (of_run,) = database.rows(query, [files.run_id])
    columns = "max(sample) AS sample, bool_and(night >= 0) AS has_night, bool_and(niche >= '0') AS has_niche"
    (last,) = database.rows(f"SELECT {columns} FROM programs WHERE run_id = ?", [files.run_id])
    assert last == {"sample": of_run["samples"], "has_night": True, "has_niche": True}
    gains = [row["gain"] for row in database.rows("FROM improvements(?)", [files.run_id])]
    assert sum(gains) == pytest.approx(of_run["gain"])
    operators = {row["operator"] for row in database.rows("FROM lineage(?)", [of_run["best_program_id"]])}
    assert (operators == {None}) == (name < "0.2")
    assert len(database.rows("PIVOT progress() ON generation USING max(best_score) GROUP BY run_id")) == 2
    resets = database.rows(
        "SELECT generation, unnest(reset_niches) AS niche FROM generations WHERE run_id = ?", [files.run_id]
    )
    found = database.rows("SELECT generation, niche FROM niches_over_time(?) WHERE was_reset", [files.run_id])
    assert sorted(map(str, found)) == sorted(map(str, resets))


def test_it_is_reported_and_its_best_is_shown(files: RunFiles, capsys: pytest.CaptureFixture[str]):
    report = build_report(Database(files.backend.root), files)
    assert report.best.program_id in {program.id for program in stored_run.read_run_history(files).programs.values()}
    assert report.niches
    for command in (["best", files.run_id], ["runs"], ["show", report.best.program_id, "--why"]):
        assert run([*command, "--history", files.backend.location]) == 0
    said = capsys.readouterr()
    assert f"program {report.best.program_id}" in said.err
    assert files.run_id in said.out


def test_it_is_exported_and_imported_as_it_is(files: RunFiles, tmp_path: Path):
    pack(files, tmp_path / "run.tar.zst")
    again, is_new = unpack(tmp_path / "run.tar.zst", LocalBackend(tmp_path / "there"))
    assert is_new
    assert describe(again) == describe(files)


@pytest.mark.parametrize("command", ["resume", "retry", "replay"])
def test_it_is_not_gone_on_with(files: RunFiles, command: str, capsys: pytest.CaptureFixture[str]):
    before = describe(files)
    assert run([command, files.run_id, "--history", files.backend.location]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{files.run_id} was written by Overnight 0." in said
    assert "(format 1), and this one continues and replays runs of format 2" in said
    assert f"overnight rescore {files.run_id} --history {files.backend.location}" in said
    assert describe(files) == before


def test_nor_does_a_schedule_go_on_with_it(files: RunFiles):
    with pytest.raises(UsageError, match=r"\(format 1\)"), open_run(files):
        pass


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "name",
    [name if name in RESCORED else pytest.param(name, marks=pytest.mark.slow) for name in ARCHIVES],
    indirect=True,
)
def test_rescoring_begins_a_run_of_this_version_from_its_programs(
    files: RunFiles, name: str, capsys: pytest.CaptureFixture[str]
):
    history = files.backend.location
    assert run(["rescore", files.run_id, "--most", "3", "--trust-settings", "--history", history]) == 0
    new = find_run(files.backend, "last")
    stored_run.require_present_format(new)
    assert stored_run.read_run(new).rescored_from == files.run_id
    outcomes = {row["outcome"] for row in read_rows(new, "programs", 1)}
    keeps_state = name == "0.2-answers-corners-48x1"  # which counted then, and is against the rules by default now
    assert outcomes == ({"unconfirmed"} if keeps_state else {"scored"})
    assert ("--set state=calls" in capsys.readouterr().err) is keeps_state
    settings = stored_run.read_run(new).problem.settings
    assert settings == stored_run.read_run(files).problem.settings
