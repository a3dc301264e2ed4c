"""A night and its files: what is committed, counted, bought and compacted, whatever fails meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import overnight.flows.night.final_evaluation
import overnight.flows.night.night
import overnight.flows.night.reporting
import overnight.flows.night.retry_policy
from overnight.flows.night.events import Event
from overnight.flows.night.open_run import Compaction, OpenRun
from overnight.schemas.errors import EnvironmentFault, ImpossibleScore, Outage, SandboxUnavailable
from overnight.schemas.generation import GenerationRecord, NightRecord
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.settings import Known
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.compact import MIN_AT_END, MIN_DURING_NIGHT
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.journal import Journal
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.night_log import read_log
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.fake_provider import Provider, Request, says
from overnight.testing.made import NOW, create, grow, run_at
from tests.flows.cli.conftest import call
from tests.flows.conftest import JUDGED, Night
from tests.flows.night.kinds import CONFIRMED
from tests.flows.nights import everything
from tests.in_process import InProcess

pytestmark = pytest.mark.heavy


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.01)


def test_a_night_leaves_generations_a_population_and_its_own_row(night: Night, tmp_path: Path):
    night(3, run_id="swept", settings=JUDGED)
    history = Database(tmp_path)
    (run,) = history.rows("FROM runs")
    assert run["generations"] == 3
    assert run["samples"] == 3 * 3 * 2
    assert run["best_score"] >= run["start_score"]
    (row,) = history.rows("FROM nights")
    assert (row["stop_reason"], row["generations"], row["samples"]) == ("generations", 3, 18)
    assert row["finalists"][0]["validation"] is not None
    assert row["finalists"][0]["held_out"] is not None
    counts = history.rows("SELECT generation, count(*) AS n FROM programs GROUP BY generation ORDER BY generation")
    assert [(c["generation"], c["n"]) for c in counts] == [(0, 1), (1, 6), (2, 6), (3, 6)]
    assert history.rows("SELECT reset_niches FROM generations WHERE generation = 2")[0]["reset_niches"]


def test_a_night_s_row_is_kept_up_while_it_is_under_way(night: Night, monkeypatch: pytest.MonkeyPatch):
    rows, write = [], record.write_night
    monkeypatch.setattr(overnight.flows.night.reporting, "ROW_S", 0.0)
    monkeypatch.setattr(record, "write_night", lambda files, row: (rows.append(row), write(files, row)))
    night(3)
    under_way = [row for row in rows if row.ended_at is None]
    assert {row.generations: row.samples for row in under_way} == {0: 0, 1: 6, 2: 12, 3: 18}
    assert under_way[-1].best_after >= under_way[0].best_after


def test_a_night_that_is_stopped_at_once_counts_all_that_it_committed(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    take = overnight.flows.night.night.Night._take

    def stop_while_a_commit_is_under_way(self: overnight.flows.night.night.Night, event: Event) -> None:
        take(self, event)
        if self.run.state.best.id != self.run.progress.best_id:
            raise KeyboardInterrupt

    monkeypatch.setattr(overnight.flows.night.night.Night, "_take", stop_while_a_commit_is_under_way)
    with pytest.raises(KeyboardInterrupt):
        night(5)
    files = files_of(LocalBackend(tmp_path), "toy")
    past = stored_run.read_run_history(files)
    row = stored_run.read_night(files, 1, past.programs)
    assert (row.stop_reason, row.generations) == ("interrupted", past.generations)
    assert row.best_after == max(program.score for program in past.programs.values())
    assert past.programs[row.best_program_id].score == row.best_after


BODIES = {
    Outcome.SCORED: "return offset + 2.0",
    Outcome.CRASHED: "raise ValueError('no')",
    Outcome.BAD_SCORE: "return float('nan')",
    Outcome.REJECTED: "return guess_v0(offset)",
}
CUT_OFF = (Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.OUTPUT_LIMIT)
"""What only a sandbox says of a program; that it does is tried in `tests/contract/test_sandbox.py`."""


def test_every_outcome_can_be_seen_in_the_history(
    night: Night, in_process: InProcess, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    in_process.fault = lambda _, text: next(
        (Verdict(outcome, error="it was stopped") for outcome in CUT_OFF if f"'{outcome}'" in text), None
    )
    bodies = BODIES | {outcome: f"return '{outcome}'" for outcome in CUT_OFF}
    texts = [f"def guess_v9(offset):\n    {body}" for body in bodies.values()]
    texts += ["I am sorry.", texts[0]]
    provider.script = lambda number, request: says(request, texts[number])
    asks["sampling"]["concurrency"] = 1
    night(1, settings={**asks, "search": {"prompts": len(texts), "samples": 1, "algorithm": {"islands": 2}}})
    rows = Database(tmp_path).rows("SELECT outcome, score, error FROM programs WHERE generation = 1")
    assert Counter(row["outcome"] for row in rows) == Counter(
        [outcome.value for outcome in bodies] + [Outcome.UNPARSABLE.value, Outcome.DUPLICATE.value]
    )
    for row in rows:
        assert (row["score"] is not None) == (row["outcome"] == "scored")
        assert bool(row["error"]) == (row["outcome"] != "scored")


def test_a_night_counts_the_samples_of_what_it_committed(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    def sorry(_: int, request: Request) -> Any:
        return says(request, *["I am sorry."] * request["n"])

    provider.script = sorry
    provider.latency_s = 0.3
    night(5, settings=asks, patience=1)
    (row,) = Database(tmp_path).rows("FROM nights")
    assert (row["stop_reason"], row["generations"]) == ("patience", 1)
    assert row["samples"] == 6, "those of the generation that was committed"
    paid = sum(len(answer["choices"]) for answer in provider.responses)
    assert 6 <= paid <= 6 + 16, "no more than the window are in flight"


def test_a_budget_is_overshot_by_no_more_than_what_is_in_flight(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    asks["sampling"]["models"][0]["name"] = "openai/gpt-4o"  # LiteLLM knows its price: 100 and 40 tokens are $0.00065
    asks["sampling"]["concurrency"] = 2
    night(50, settings={**asks, "search": {"prompts": 6, "samples": 2}}, budget_usd=0.005)
    (row,) = Database(tmp_path).rows("FROM nights")
    price = row["cost_usd"] / len(provider.requests)
    assert price > 0
    assert row["stop_reason"] == "budget"
    assert 0.005 <= row["cost_usd"] <= 0.005 + 2 * price


@pytest.fixture
def undisturbed(night: Night, finished: Callable[..., Path]) -> RunFiles:
    """Files of an undisturbed night of four generations."""
    history = finished("undisturbed", lambda history: night(4, history=history, settings=CONFIRMED))
    return run_at(history / "runs/toy")


def test_another_seed_gives_another_history(night: Night, undisturbed: RunFiles, tmp_path: Path):
    other = everything(night(1, history=tmp_path / "other", settings=CONFIRMED, seed=2))
    assert other["000001/programs.parquet"] != everything(undisturbed)["000001/programs.parquet"]


def test_an_error_after_the_commit_is_no_failure_and_the_session_is_what_the_files_say(
    night: Night, undisturbed: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commit, failed = record.commit, list[int]()

    def failing(files: RunFiles, generation: GenerationRecord) -> None:
        commit(files, generation)
        if generation.number == 2 and not failed:
            failed.append(2)
            raise OSError(5, "input/output error")

    monkeypatch.setattr(record, "commit", failing)
    broken = night(4, history=tmp_path / "broken", settings=CONFIRMED)
    assert failed
    assert everything(broken) == everything(undisturbed)
    assert {row["state"] for row in Database(tmp_path / "broken").rows("FROM generations")} == {"committed"}


def test_a_commit_that_fails_leaves_the_population_as_it_was(
    night: Night, undisturbed: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write, failed = OpenRun.write, list[int]()

    def full(self: OpenRun, generation: GenerationRecord) -> None:
        if generation.number == 2 and not failed:
            failed.append(2)
            raise EnvironmentFault("no space left")
        write(self, generation)

    monkeypatch.setattr(OpenRun, "write", full)
    broken = everything(night(4, history=tmp_path / "broken", settings=CONFIRMED))
    assert failed
    programs = {name: table for name, table in broken.items() if not name.endswith("generation.parquet")}
    whole = everything(undisturbed)
    assert programs == {name: table for name, table in whole.items() if name in programs}


def test_a_full_disk_stops_the_buying(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise EnvironmentFault("no space left")

    monkeypatch.setattr(Journal, "record", full)
    asks["sampling"]["concurrency"] = 1
    with pytest.raises(EnvironmentFault):
        night(2, settings={**asks, "search": {"retries": 0, "failures": 1}})
    assert len(provider.requests) == 1
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["samples"] == 0, "nothing was committed"


def test_the_final_is_waited_for_through_pauses(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pauses = iter(["the engine is gone", "the disk is full", "the engine is gone"])
    judge = overnight.flows.night.final_evaluation.judge_finalists

    def unavailable_for_long(run: OpenRun, *_: object) -> Any:
        if cause := next(pauses, None):
            raise SandboxUnavailable(cause)
        return judge(run)

    monkeypatch.setattr(overnight.flows.night.final_evaluation, "judge_finalists", unavailable_for_long)
    night(1, settings=JUDGED)
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["finalists"]
    assert (row["stop_reason"], row["paused_by"]) == ("generations", "the engine is gone")
    assert [one["cause"] for one in row["pauses"]] == ["the engine is gone", "the disk is full"]
    assert sum(one["seconds"] for one in row["pauses"]) == pytest.approx(row["paused_s"])


def test_an_undecided_final_names_the_command_that_holds_it_again(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def out_of_order(*_: object) -> Any:
        raise Outage("the engine is gone")

    monkeypatch.setattr(overnight.flows.night.final_evaluation, "judge_finalists", out_of_order)
    with pytest.raises(SandboxUnavailable, match="the final is undecided: the engine is gone") as caught:
        night(None, within_s=0.1, settings=JUDGED)
    assert caught.value.remedy == f"`overnight resume toy --generations 1 --history {tmp_path}` holds it again."


def test_a_final_that_is_not_done_in_time_is_left_for_another_night(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def held_up(run: OpenRun, ends_by: datetime | None) -> Any:
        assert ends_by
        assert ends_by - datetime.now(UTC) < timedelta(seconds=1 + 5 * run.run.problem.settings.limits.wall_s)
        monkeypatch.setattr(overnight.flows.night.final_evaluation, "_is_past", lambda _: True)
        raise SandboxUnavailable("the sandbox was closed")

    monkeypatch.setattr(overnight.flows.night.final_evaluation, "judge_finalists", held_up)
    files = night(None, within_s=0.1, grace_s=1.0, settings=JUDGED)
    (row,) = Database(tmp_path).rows("FROM nights")
    assert (row["stop_reason"], row["finalists"], row["error"]) == ("deadline", [], "")
    assert f"`overnight resume toy --generations 1 --history {tmp_path}` holds it" in read_log(files)[-1][1]


def test_a_night_that_was_killed_counts_what_it_committed(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 3)
    start = stored_run.read_run_history(files).start
    record.write_night(files, NightRecord(1, NOW, start.score, start.score, start.id, generations=1, samples=2))
    (found,) = Database(tmp_path).rows("SELECT generations, samples, best_after, best_program_id FROM nights")
    (run,) = Database(tmp_path).rows("SELECT generations, samples, best_score, best_program_id FROM runs")
    assert list(found.values()) == list(run.values())


# Compaction during and after a night; errors are reported and never stop the search


def test_a_compaction_starts_after_enough_generations_and_at_the_end_of_a_night(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    compaction = Compaction(files, pytest.fail)
    grow(files, MIN_DURING_NIGHT - 2)
    compaction.committed()
    assert len(files.blocks()) == MIN_DURING_NIGHT - 1, "too few generations so far"
    grow(files, 1)
    compaction.committed()
    compaction.close()
    assert [block.size for block in files.blocks()] == [MIN_DURING_NIGHT]
    grow(files, MIN_AT_END)
    Compaction(files, pytest.fail).close()
    assert [block.size for block in files.blocks()] == [MIN_DURING_NIGHT, MIN_AT_END]


def test_a_failed_compaction_is_noted_once_and_not_repeated(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    grow(files, MIN_AT_END)
    (files.generation(2) / "programs.parquet").write_bytes(b"nonsense")
    notes: list[str] = []
    compaction = Compaction(files, notes.append)
    compaction.committed()
    compaction.close()
    assert len(notes) == 1
    assert "damaged" in notes[0]
    assert len(files.blocks()) == MIN_AT_END + 1


def test_the_command_compacts_one_run_or_all_except_runs_under_way(tmp_path: Path):
    runs = [create(tmp_path, f"20260101-000{number}-toy-aaaa", prompts=2) for number in range(3)]
    for files in runs:
        grow(files, 2)
    done = call(["compact", runs[0].run_id], tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "merged 3 folders into one" in done.stderr
    with run_lock(runs[1]):
        done = call(["compact"], tmp_path)
        assert done.returncode == 0
        assert "nothing to do" in done.stderr
        assert "skipped: run 20260101-0001-toy-aaaa is under way" in done.stderr
        assert call(["compact", runs[1].run_id], tmp_path).returncode == 2
    assert [len(files.blocks()) for files in runs] == [1, 3, 1]


# Generations overlap within the window; what a prompt may see of them is tried in `test_core.py`


WINDOW = 6


def test_a_straggler_holds_up_no_more_than_the_window_and_generations_overlap(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    """One of the first prompts is answered only after all others that the window allows have been asked."""
    asked = threading.Event()

    def straggler(number: int, request: Request) -> Any:
        if number == 1:
            assert asked.wait(60), "the others are asked meanwhile"
        if len(provider.requests) >= WINDOW:
            asked.set()
        return says(request, f"```python\ndef guess(offset):\n    return offset + 1.{number}\n```")

    provider.script = straggler
    asks["sampling"]["concurrency"] = WINDOW
    night(2, settings={**asks, "search": {"prompts": 4, "samples": 1}})
    overlap = Database(tmp_path).rows(
        "SELECT b.started_at < a.ended_at AS overlap FROM generations a JOIN generations b ON b.generation = 2 "
        "WHERE a.generation = 1"
    )
    assert overlap == [{"overlap": True}]


# A score that is better than a proven optimum: the checker is wrong, and the night stops and says so


def proven(best: float) -> dict[str, object]:
    return {"known": {"best": best, "proven": True, "label": "by counting", "source": "a book"}}


def test_a_score_beyond_a_proven_optimum_stops_the_night_and_every_one_after_it(night: Night, tmp_path: Path):
    with pytest.raises(ImpossibleScore, match=r"proven to be the best \(by counting; a book\)") as caught:
        night(20, settings=proven(-8.61))
    history = Database(tmp_path)
    (ended,) = history.rows("FROM nights")
    assert ended["stop_reason"] == "failed"
    assert "what checks it has a bug" in ended["error"]
    (best,) = history.rows("SELECT * FROM best_programs('toy', how_many := 1)")
    assert best["score"] > -8.61
    assert caught.value.remedy.endswith(f": overnight show {best['program_id']} --history {tmp_path}")
    committed = history.rows("SELECT max(generation) AS last FROM generations WHERE state = 'committed'")[0]["last"]
    assert best["generation"] == committed < 20, "it stops with the generation that found it, which is kept"
    with pytest.raises(ImpossibleScore):
        night(1)
    assert history.rows("SELECT count(*) AS n FROM nights")[0]["n"] == 2
    assert history.rows("SELECT max(generation) AS last FROM generations")[0]["last"] == committed


def test_the_optimum_itself_is_no_bug_nor_is_rounding():
    known = Known(best=3003.0, proven=True)
    assert not known.is_beaten_by(3003.0)
    assert not known.is_beaten_by(3003.0 * (1 + 1e-12))
    assert known.is_beaten_by(3003.001)
    assert known.is_beaten_by(3004)
    assert not Known(best=3003.0).is_beaten_by(3004)
    assert not Known(proven=True).is_beaten_by(3004)


def test_a_commit_whose_answer_was_lost_counts_in_the_night_s_row(
    night: Night, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(overnight.flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    write = OpenRun.write

    def write_and_lose_the_answer(run: OpenRun, generation: GenerationRecord) -> None:
        write(run, generation)
        if generation.number == 3:
            raise Outage("the store did not answer", remedy="It is tried again.")

    monkeypatch.setattr(OpenRun, "write", write_and_lose_the_answer)
    night(3)
    database = Database(tmp_path)
    (row,) = database.rows("SELECT generations, best_after FROM files.nights")
    (best,) = database.rows("SELECT max(best_score) AS best FROM generations")
    assert (row["generations"], row["best_after"]) == (3, best["best"])
