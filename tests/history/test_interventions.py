"""Requests of people beside a run, and the table of those that it has taken; files of strangers do no harm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from overnight.schemas.errors import HistoryError
from overnight.schemas.generation import Finalist, NightRecord
from overnight.schemas.interventions import MAX_CHARS, Intervention, Kind
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.interventions import (
    add_request,
    new_request,
    pending_requests,
    read_interventions,
    write_interventions,
)
from overnight.tasks.history.winners import best_program
from overnight.testing.made import NOW, create, grow


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    files = create(tmp_path)
    grow(files, 4)
    return files


def a_drop(program_id: str, place: int) -> Intervention:
    return Intervention(f"drop of {program_id}", Kind.DROP, NOW, "ada", "", program_id, place=place)


def test_a_request_waits_until_it_is_taken(files: RunFiles):
    one, other = new_request(Kind.HINT, "try this", prompts=3), new_request(Kind.WITHDRAWAL)
    add_request(files, one)
    add_request(files, other)
    assert pending_requests(files) == [one, other]
    assert one.author
    write_interventions(files, [replace(one, generation=5, prompt=2)])
    assert pending_requests(files) == [other]
    assert read_interventions(files) == (replace(one, generation=5, prompt=2),)


def test_damaged_requests_are_left_out_and_long_ones_are_cut(files: RunFiles):
    add_request(files, new_request(Kind.HINT, "x" * MAX_CHARS * 2))
    add_request(files, new_request(Kind.HINT, "for ever", prompts=3_000_000_000))
    with files.requests.open("ab") as handle:
        handle.write(b'\xff\n{}\n[]\n{"kind": "order"}\n{"id": 1')
    assert [one.text for one in pending_requests(files)] == ["x" * MAX_CHARS]


def test_a_damaged_table_is_an_error_that_names_it(files: RunFiles):
    files.interventions.write_bytes(b"PAR1 no")
    with pytest.raises(HistoryError, match=r"interventions\.parquet"):
        stored_run.read_run_history(files)


def test_only_programs_that_were_there_are_dropped_and_never_the_start(files: RunFiles):
    past = stored_run.read_run_history(files)
    start, early, *_, late = past.programs
    write_interventions(files, [a_drop(start, 4), a_drop(early, 4), a_drop(late, 1), a_drop("nowhere", 4)])
    again = stored_run.read_run_history(files)
    assert set(again.dropped) == {early}
    assert set(again.programs) == set(past.programs) - {early}
    assert again.told == {**again.programs, early: past.programs[early]}


def test_the_views_count_a_dropped_program_as_failed(files: RunFiles, tmp_path: Path):
    database = Database(tmp_path)
    before = database.rows("FROM runs")[0]
    best = before["best_program_id"]
    record.write_night(files, NightRecord(1, NOW, -9.0, before["best_score"], best, ended_at=NOW))
    assert [row["best_program_id"] for row in database.rows("FROM nights")] == [best]
    write_interventions(files, [replace(a_drop(best, 4), text="it cheats")])
    (row,) = database.rows("FROM programs WHERE program_id = ?", [best])
    assert (row["outcome"], row["score"], row["scores"]) == ("unconfirmed", None, [])
    assert row["error"] == "a person took it out of the search: it cheats"
    assert row["claimed_scores"]
    left = {one.id: one.score for one in stored_run.read_run_history(files).programs.values()}
    after = database.rows("FROM runs")[0]
    assert left[after["best_program_id"]] == after["best_score"] == max(left.values())
    assert all(row["best_program_id"] in left for row in database.rows("FROM generations"))
    (night,) = database.rows("FROM nights")
    assert left[night["best_program_id"]] == night["best_after"] == max(left.values())
    assert all(row["program_id"] in left for row in database.rows("FROM population"))
    assert {key: value for key, value in before.items() if "best" not in key} == {
        key: value for key, value in after.items() if "best" not in key
    }


def test_a_connection_that_was_asked_before_counts_what_is_dropped_later(files: RunFiles, tmp_path: Path):
    database, programs = Database(tmp_path), "SELECT count(*) FROM programs WHERE outcome = 'unconfirmed'"
    generations = "SELECT max(best_score) AS best FROM generations"
    ranked = database.rows("FROM programs WHERE generation > 0 ORDER BY score DESC NULLS LAST LIMIT 3")
    for number, row in enumerate(ranked):
        for _ in range(3):  # of which the later ones read no file
            assert [*database.rows(programs)[0].values()] == [number]
            assert database.rows(generations) == [{"best": row["score"]}]
        write_interventions(files, [a_drop(each["program_id"], 4) for each in ranked[: number + 1]])
    assert database.rows(programs) == Database(tmp_path).rows(programs)


def test_after_a_drop_of_the_winner_the_next_finalist_is_the_best(files: RunFiles):
    past = stored_run.read_run_history(files)
    first, second, third = sorted(past.programs.values(), key=lambda one: one.score, reverse=True)[:3]
    finalists = tuple(
        Finalist(one, one.score, value, None) for one, value in ((second, 3.0), (third, 2.0), (first, 1.0))
    )
    record.write_night(files, NightRecord(1, NOW, -9.0, first.score, second.id, ended_at=NOW, finalists=finalists))
    best, night = best_program(files, past)
    assert best == second
    assert night is not None
    write_interventions(files, [a_drop(second.id, 4)])
    best, night = best_program(files, stored_run.read_run_history(files))
    assert best == third
    assert night is not None
    assert [one.program for one in night.finalists] == [third, first]
