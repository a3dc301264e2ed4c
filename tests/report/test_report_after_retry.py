"""The report of a run in which a generation that had failed was committed after later ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from overnight.flows.cli.watch import state
from overnight.flows.report.build import build_report
from overnight.flows.report.comparison_data import score_curves
from overnight.flows.report.explanation import explain
from overnight.flows.report.live_report import LiveReport
from overnight.schemas.generation import NightRecord, StopReason
from overnight.schemas.program import Program
from overnight.tasks.history import record
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.report.page import render
from overnight.testing.made import NOW, a_generation, a_judged, create, grow_with_a_retry

Retried = tuple[RunFiles, dict[int, list[Program]], Database]


@pytest.fixture
def retried(tmp_path: Path) -> Retried:
    files = create(tmp_path, islands=2)
    programs = grow_with_a_retry(files)
    first = NightRecord(1, NOW, -9.0, -3.0, programs[4][0].id, NOW + timedelta(hours=1), 3, 3)
    second = NightRecord(
        2, NOW + timedelta(days=1), -3.0, 1.0, programs[2][0].id, NOW + timedelta(days=1, hours=1), 1, 3
    )
    for night in (first, second):
        record.write_night(files, replace(night, stop_reason=StopReason.GENERATIONS))
    return files, programs, Database(tmp_path)


@pytest.mark.usefixtures("without_charts")
def test_the_report_goes_by_the_order_of_commits(retried: Retried):
    files, programs, database = retried
    report = build_report(database, files)
    assert report.best.program_id == programs[2][0].id
    assert [(summary.generation, summary.samples, summary.best) for summary in report.generations] == [
        (0, 0, -9.0), (1, 1, -5.0), (3, 2, -4.0), (4, 3, -3.0), (2, 6, 1.0)
    ]  # fmt: skip
    assert [(point.program_id, point.sample) for point in report.points] == [
        (programs[1][0].id, 1), (programs[3][0].id, 2), (programs[4][0].id, 3), (programs[2][0].id, 4),
        (programs[2][1].id, 5),
    ]  # fmt: skip
    assert [ancestor.generation for ancestor in report.lineage] == [0, 1, 3, 4, 2]
    assert [point.programs for point in report.diversity] == [2, 3, 4, 2, 4]
    first, second = report.niches
    assert (first.steps, first.resets, first.programs) == (
        ((0, -9.0), (1, -5.0), (2, -4.0), (3, -3.0), (3, -9.0), (6, 1.0)),
        (3,),
        3,
    )
    assert second.steps == ((0, -9.0),)
    assert report.command.endswith("--max-samples 6")
    assert state(report)["generation"] == 4
    assert programs[2][0].id in render(report)
    (curve,) = score_curves(database, [files.run_id])
    assert curve.steps == ((0, -9.0), (1, -5.0), (2, -4.0), (3, -3.0), (6, 1.0))
    assert curve.best.program_id == programs[2][0].id


def test_a_report_covers_what_its_night_committed(retried: Retried):
    files, programs, database = retried
    first, second = (build_report(database, files, night) for night in (1, 2))
    assert [summary.generation for summary in first.generations] == [0, 1, 3, 4]
    assert first.best.program_id == programs[4][0].id
    assert [model.samples for model in first.models] == [3]
    assert [niche.programs for niche in first.niches] == [1, 1]
    assert [summary.generation for summary in second.generations] == [4, 2]
    assert [model.samples for model in second.models] == [3]
    assert [point.program_id for point in second.points] == [program.id for program in programs[2]]
    assert [(repeat.program_id, repeat.times) for repeat in second.repeats] == []
    assert second.time_spent.generations_s == 120.0


def test_an_explanation_compares_with_what_was_there_before(retried: Retried):
    _, programs, database = retried
    (row,) = database.rows("FROM programs WHERE program_id = ?", [programs[2][0].id])
    said = " ".join(explain(database, row))
    assert "The best of the run before it scored -3, so it was better by 4." in said
    assert "Before it joined, the niche's best score was -9, among 1 program." in said
    assert "It is still there." in said
    (row,) = database.rows("FROM programs WHERE outcome = 'duplicate'")
    assert f"it differs at most in form from {programs[3][0].id} of generation 3" in " ".join(explain(database, row))


def test_the_live_report_is_built_again_when_a_failed_generation_is_committed(tmp_path: Path):
    files = create(tmp_path, islands=2)
    grow_with_a_retry(files)
    folder = files.generation(2)
    folder.rename(tmp_path / "later")
    before = LiveReport(files).version()
    (tmp_path / "later").rename(folder)
    assert LiveReport(files).version() != before


def test_the_report_of_a_night_that_committed_nothing_has_what_was_there_before_it(tmp_path: Path):
    files = create(tmp_path)
    judged = a_judged(files.run_id, 1, 0, scores=(1.0, 1.0))
    record.commit(files, a_generation(1, [judged], judged.program(), night=2))
    for number in (1, 2):
        record.write_night(files, NightRecord(number, NOW + timedelta(days=number), -9.0, 1.0, judged.id))
    database = Database(tmp_path)
    first, second = (build_report(database, files, night) for night in (1, 2))
    assert (first.start.train, first.best.train) == (-9.0, -9.0)
    assert (second.start.train, second.best.train) == (-9.0, 1.0)
