"""A run again from its recorded completions: the same history, whatever its nights went through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import overnight.flows.night.recorded_run
import overnight.flows.night.reporting
import overnight.flows.night.retry_policy
import overnight.flows.night.samples_in_flight
from overnight.flows.night.recorded_run import read_recorded_run
from overnight.flows.night.replay import open_replay, replay
from overnight.schemas.generation import NightRecord, StopReason
from overnight.schemas.job import Job
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.atomic_files import read_file
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.night_log import read_log
from overnight.tasks.sample.codecs import functions, unparsable
from overnight.testing.fake_provider import Answer, Provider
from overnight.testing.made import NOW
from tests.accidents import wait_until
from tests.flows.conftest import JUDGED, Night
from tests.flows.night.test_retry import busy
from tests.flows.nights import everything, replayed, require_replay
from tests.in_process import InProcess

pytestmark = pytest.mark.heavy


def failures(files: RunFiles) -> list[dict[str, Any]]:
    return [row for path in files.attempts() for row in read_file(path).to_pylist()]


def test_a_run_whose_nights_met_everything_comes_out_the_same(
    night: Night, provider: Provider, asks: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    refusal = Answer({"error": {"message": "This model's maximum context length is 10 tokens."}}, status=400)

    def answer(number: int, _: dict[str, Any]) -> Answer | None:
        if number == 4:
            return busy()
        if number == 6:  # it may be sent before, and its failure would be the first
            wait_until(lambda: any(tmp_path.rglob("attempts/*.parquet")))
        if number in {6, 7, 8}:
            return Answer({"error": {"message": "an outage"}}, status=503)
        return refusal if number == 12 else None

    provider.script = answer
    confirmed = {"slots": 2, "confirm": "best"}
    asks["sampling"] |= {"concurrency": 6}  # a generation: it is known which request belongs where
    settings = {**asks, **JUDGED, "sandbox": confirmed, "search": {"retries": 0, "failures": 3}}
    files = night(4, settings=settings)
    given_up = [row["generation"] for row in failures(files) if row["place"] is not None]
    assert given_up == [2]
    assert any("an outage" in row["error"] and row["place"] is None for row in failures(files))
    night(1)
    night(None, again=given_up)
    night(3, max_tokens=200)
    numbers = Database(tmp_path).rows("SELECT candidates AS n FROM generations WHERE state = 'committed'")
    assert sum(1 < row["n"] < 6 for row in numbers) > 0, "one generation ended with what the budget allowed"
    errors = Database(tmp_path).rows("SELECT error FROM programs WHERE error LIKE '%context length%'")
    assert errors, "a prompt was refused"

    asked = len(provider.requests)
    found, again = replayed(files, tmp_path / "again")
    assert len(provider.requests) == asked, "no model is asked"
    assert found.first is None
    assert found.generations == len(numbers)
    assert everything(again) == everything(files)
    assert failures(again) == failures(files)
    names = ("night", "generations", "samples", "best_before", "best_after", "best_program_id", "finalists")
    nights = [
        Database(place).rows(f"SELECT {', '.join(names)} FROM nights ORDER BY night")
        for place in (tmp_path, tmp_path / "again")
    ]
    assert nights[0] == nights[1]
    assert nights[0][-1]["finalists"]


def test_a_killed_night_comes_out_the_same(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows: list[NightRecord] = []
    write = record.write_night
    monkeypatch.setattr(overnight.flows.night.reporting, "ROW_S", 0.0)
    monkeypatch.setattr(record, "write_night", lambda files, row: (rows.append(row), write(files, row)))
    files = night(4)
    left = next(row for row in rows if row.ended_at is None and row.best_after > row.best_before)
    write(files, left)  # a row of some moment is all that a kill leaves of a night
    night(1)
    assert [line.partition(" ")[2] for number, line in read_log(files) if number == 1][-1].startswith("killed: ")
    require_replay(files, tmp_path / "again")
    write(files, replace(left, ended_at=NOW, stop_reason=StopReason.INTERRUPTED))  # as one ended by force leaves
    require_replay(files, tmp_path / "once-more")


def test_a_row_of_a_night_that_claims_other_finalists_is_a_difference(night: Night, tmp_path: Path):
    files = night(2, settings=JUDGED)
    then = stored_run.read_night(files, 1, stored_run.read_run_history(files).programs)
    forged = [replace(one, validation=99.0) for one in then.finalists]
    record.write_night(files, replace(then, generations=then.generations - 1, finalists=tuple(forged)))
    found, _ = replayed(files, tmp_path / "again")
    assert found.first is not None


def test_generations_that_ended_early_are_repeated_with_their_prompts(
    night: Night, provider: Provider, asks: dict, tmp_path: Path
):
    provider.latency_s = 0.05
    few = {"sampling": {**asks["sampling"], "concurrency": 2}, "search": {"prompts": 5, "samples": 1, "seconds": 0.01}}
    files = night(1, settings={**asks, **few})
    rows = Database(tmp_path).rows("SELECT prompts, candidates FROM generations WHERE generation > 0")
    assert len(rows) > 1, "each has fewer prompts"
    assert [row["prompts"] for row in rows[:-1]] == [row["candidates"] for row in rows[:-1]]
    assert sum(row["candidates"] for row in rows) == 5, "as many as one of full length has"
    night(1)
    require_replay(files, tmp_path / "again")


def test_fewer_are_in_flight_once_answers_are_slow_and_it_is_said_and_repeated(
    night: Night, provider: Provider, asks: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(overnight.flows.night.samples_in_flight, "_SLOW_S", 0.05)
    provider.latency_s = 0.1
    few = {"sampling": {**asks["sampling"], "concurrency": None}, "search": {"prompts": 6, "samples": 1}}
    files = night(3, settings={**asks, **few})
    rows = Database(tmp_path).rows("SELECT samples_in_flight AS few FROM generations WHERE generation > 0")
    assert [row["few"] for row in rows] == [4, None, None]
    said = [line.partition(" ")[2] for _, line in read_log(files)]
    assert "; 8 samples in flight, as the night takes at most 18;" in said[0]
    assert said[2].startswith("4 samples in flight from now on, as an answer took 0 s;")
    night(1)
    assert [stored_run.read_night(files, number, {}).samples_in_flight for number in (1, 2)] == [8, 4]
    require_replay(files, tmp_path / "again")


@pytest.mark.parametrize(("outcome", "is_the_same"), [(Outcome.TIMED_OUT, True), (Outcome.CRASHED, False)])
def test_a_finalist_whose_seconds_decide_has_the_score_of_the_record(
    night: Night, in_process: InProcess, tmp_path: Path, outcome: Outcome, is_the_same: bool
):
    files = night(2, settings=JUDGED)
    winner = stored_run.read_night(files, 1, stored_run.read_run_history(files).programs).finalists[0].program

    def fail_on_held_out_inputs(job: Job, text: str) -> Verdict | None:
        return Verdict(outcome) if job.inputs[0].args == (3,) and winner.body.splitlines()[-1] in text else None

    in_process.fault = fail_on_held_out_inputs
    found, _ = replayed(files, tmp_path / "again")
    assert (found.first is None) == is_the_same
    assert (found.decided_by_time, found.best_by_time) == ((1, winner.id) if is_the_same else (0, ""))


def test_programs_that_are_read_from_answers_in_another_way_are_those_of_the_record(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = night(2)
    monkeypatch.setattr(functions, "parse", lambda *_: unparsable("it reads nothing"))
    found, _ = replayed(files, tmp_path / "again")
    assert found.first is not None
    monkeypatch.setattr(overnight.flows.night.recorded_run, "RULES_VERSION", "another")
    found, _ = replayed(files, tmp_path / "once-more")
    assert found.first is None
    assert found.programs > 2


def test_a_run_that_goes_on_during_its_replay_is_repeated_as_it_was(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = night(1)
    then = read_recorded_run(files)
    night(1)
    with open_replay(then, LocalBackend(tmp_path / "again")) as session:
        found = replay(then, session)
    assert (found.first, found.generations) == (None, 2)
