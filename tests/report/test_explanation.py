"""Explanations and sample numbers of programs that no model proposed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from overnight.flows.report.explanation import explain
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import NO_GAIN, RESCORED, TUNER, Judged
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.testing.made import a_generation, a_judged, create


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    """A run whose generation has an unparsable answer, a scored one, and two answers of the tuner."""
    files = create(tmp_path, prompts=2, samples=1)
    start = stored_run.read_run_history(files).start
    unparsable = a_judged(files.run_id, 1, 0, outcome=Outcome.UNPARSABLE)
    scored = a_judged(files.run_id, 1, 1, scores=(1.0, 1.0), parents=[start.id])
    tuned = a_judged(files.run_id, 1, 2, scores=(2.0, 2.0), model=TUNER)
    without_gain = answered(a_judged(files.run_id, 1, 3, outcome=Outcome.DUPLICATE, body="", model=TUNER), NO_GAIN)
    without_gain = replace(without_gain, verdict=Verdict(Outcome.DUPLICATE, error="no better numbers were found"))
    record.commit(files, a_generation(1, [unparsable, scored, tuned, without_gain], tuned.program()))
    return files


def answered(judged: Judged, finish_reason: str) -> Judged:
    completion = replace(judged.candidate.completion, finish_reason=finish_reason)
    return replace(judged, candidate=replace(judged.candidate, completion=completion))


def row(files: RunFiles, where: str) -> tuple[Database, dict]:
    database = Database(files.directory.parents[1])
    (found,) = database.rows(f"FROM programs WHERE {where}")
    return database, found


def test_a_tuning_without_a_gain_is_no_copy_of_an_answer_without_a_program(files: RunFiles):
    sentences = explain(*row(files, f"generation = 1 AND finish_reason = '{NO_GAIN}'"))
    assert sentences[-1] == "Dropped without being run: no better numbers were found."


def test_a_program_that_was_scored_again_is_that_of_the_earlier_run(files: RunFiles):
    again = answered(a_judged(files.run_id, 2, 0, scores=(1.0, 1.0), parents=["0123456789ab"], model=""), RESCORED)
    record.commit(files, a_generation(2, [again], again.program()))
    first = explain(*row(files, "generation = 2"))[0]
    assert first == "Taken from an earlier run and scored again; it was 0123456789ab there."


def test_answers_of_the_tuner_have_the_sample_number_of_the_last_one_before(files: RunFiles):
    again = a_judged(files.run_id, 2, 0, scores=(1.0, 1.0), body="return 77")
    record.commit(files, a_generation(2, [again], again.program()))
    database = Database(files.directory.parents[1])
    found = database.rows("SELECT sample FROM programs ORDER BY place, index")
    assert [row["sample"] for row in found] == [0, 1, 2, 2, 2, 3]
