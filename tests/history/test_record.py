"""The record of a run: it is read back unchanged, and the same generation is always written as the same bytes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from overnight.flows.night.search_state import SearchState
from overnight.schemas import tables
from overnight.schemas.algorithm import Expand, Join, Reset
from overnight.schemas.errors import HistoryError
from overnight.schemas.files import File
from overnight.schemas.generation import Finalist, NightRecord, RunRecord, Step, StopReason
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import TUNED, TUNER
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.atomic_files import read_file, write_file
from overnight.tasks.history.database import Database
from overnight.tasks.history.differences import compare
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.rows import completions_of, prompts_of, record_of_rows
from overnight.testing.made import (
    NOW,
    a_generation,
    a_judged,
    a_problem,
    a_run,
    an_answer,
    create,
    grow,
    portrait,
    rebuilt,
)


def rows(files: RunFiles, generation: int, name: str = "programs") -> list[dict]:
    return read_file(files.generation(generation) / f"{name}.parquet").to_pylist()


def parquets(files: RunFiles) -> dict[str, Path]:
    return {str(path.relative_to(files.directory)): path for path in sorted(files.directory.rglob("*.parquet"))}


# Write and read back


def test_the_evaluations_of_the_tuner_are_read_back_and_null_for_models(tmp_path: Path):
    files = create(tmp_path)
    tuned, answered = (a_judged(files.run_id, 1, n, scores=(1.0, 2.0), model=m) for n, m in enumerate((TUNER, "m")))
    completion = replace(tuned.candidate.completion, evaluations=45, finish_reason=TUNED)
    tuned = replace(tuned, candidate=replace(tuned.candidate, completion=completion))
    record.commit(files, a_generation(1, [tuned, answered], tuned.program()))
    found = rows(files, 1)
    assert [row["evaluations"] for row in found] == [45, None]
    assert [one.evaluations for one in completions_of(found, 1)] == [45, 0]
    assert [one.evaluations for one in completions_of([{**row, "evaluations": None} for row in found], 1)] == [0, 0]


def test_the_base_of_a_prompt_is_its_better_parent_the_first_for_a_repair_and_empty_without_parents(tmp_path: Path):
    files = create(tmp_path)
    one = a_judged(files.run_id, 1, 0, scores=(1.0, 2.0))
    record.commit(files, a_generation(1, [one], one.program()))
    (row,) = rows(files, 1)
    bodies = {"a": "return 1", "b": "return 2"}
    for parents, operator, base in ((["a", "b"], "", "return 2"), (["a", "b"], "repair", "return 1"), ([], "", "")):
        (prompt,) = prompts_of([{**row, "parent_ids": parents, "operator": operator}], 1, bodies).values()
        assert (prompt.parent_ids, prompt.base) == (tuple(parents), base)


def test_metrics_and_notes_are_read_back_and_empty_where_a_file_lacks_them(tmp_path: Path):
    files = create(tmp_path)
    one = a_judged(files.run_id, 1, 0, scores=(1.0, 2.0))
    verdict = replace(one.verdict, metrics={"s": (1.0, None), "t": (2.0, 4.0)}, notes=("far", ""))
    one = replace(one, verdict=verdict, metrics={"t": 3.0}, confirmed_metrics={"t": 3.5})
    record.commit(files, a_generation(1, [one], one.program(), [Join("0", one.id)]))
    assert stored_run.read_run_history(files).programs[one.id] == one.program()
    (row,) = rows(files, 1)
    assert record_of_rows([row]).answers == (one.feedback(),)
    assert Database(tmp_path).rows("SELECT metric, input, value FROM program_metrics ORDER BY metric, input") == [
        {"metric": metric, "input": place, "value": value}
        for metric, place, value in (("s", 1, 1.0), ("s", 2, None), ("t", 1, 2.0), ("t", 2, 4.0))
    ]
    assert Database(tmp_path).rows(
        "SELECT metrics['t'] AS t, confirmed_metrics['t'] AS again, note FROM programs JOIN scores "
        "USING (run_id, program_id) WHERE programs.generation = 1 ORDER BY input"
    ) == [{"t": 3.0, "again": 3.5, "note": "far"}, {"t": 3.0, "again": 3.5, "note": None}]
    path = files.generation(1) / "programs.parquet"
    table = read_file(path)
    new = ["metrics", "metrics_by_input", "notes", "confirmed_metrics"]
    write_file(files.backend, path, table.drop_columns(new))
    older = stored_run.read_run_history(files).programs[one.id]
    assert (older.scores, older.metrics, older.notes) == ((1.0, 2.0), {}, ())
    assert Database(tmp_path).rows("FROM program_metrics") == []


def test_the_model_that_was_asked_is_read_back_where_a_fallback_answered(tmp_path: Path):
    files = create(tmp_path)
    by_itself, answered = (a_judged(files.run_id, 1, n, scores=(1.0, 2.0), model="m") for n in range(2))
    completion = replace(answered.candidate.completion, model="spare")
    answered = replace(answered, candidate=replace(answered.candidate, completion=completion))
    record.commit(files, a_generation(1, [by_itself, answered], answered.program()))
    found = rows(files, 1)
    assert [(row["model"], row["asked_model"]) for row in found] == [("m", None), ("spare", "m")]
    assert [record_of_rows([row]).model for row in found] == ["m", "m"]


def test_the_price_of_a_prompt_is_read_back_and_unknown_if_that_of_any_answer_is(tmp_path: Path):
    files = create(tmp_path)
    costs = (0.5, 0.25, None, 0.0)  # one request returned the last two, whose first has the price of both
    judged = [a_judged(files.run_id, 1, index, scores=(1.0, 2.0), cost_usd=cost) for index, cost in enumerate(costs)]
    record.commit(files, a_generation(1, judged, judged[0].program()))
    found = rows(files, 1)
    assert [record_of_rows(found[:2]).cost_usd, record_of_rows(found[2:]).cost_usd] == [0.75, None]


def test_a_run_is_read_back_unchanged(tmp_path: Path):
    problem = a_problem(algorithm="funsearch", islands=4, reset_generations=None)
    run = a_run("r", problem, seed=2**62)
    files = files_of(LocalBackend(tmp_path), "r")
    start = a_judged("r", 0, 0, scores=(0.0, 0.0))
    record.create(files, run, a_generation(0, [start], start.program()))
    again = stored_run.read_run(files)
    assert again.problem.settings == problem.settings
    assert again.problem.inputs == problem.inputs
    assert again.problem.specification.text == problem.specification.text
    assert replace(again, problem=problem) == run


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("algorithm", ["islands", "funsearch"])
def test_a_population_is_rebuilt_from_the_files_alone(tmp_path: Path, seed: int, algorithm: str):
    files = create(tmp_path, islands=4, prompts=8, algorithm=algorithm)
    grown = grow(files, 7, seed=seed)
    again = rebuilt(files)
    assert portrait(again) == portrait(grown)
    assert again.ask(8) == grown.ask(8)
    assert again.best == grown.best


def test_continuing_from_the_files_equals_never_having_stopped(tmp_path: Path):
    through, stopped = create(tmp_path / "a", prompts=6), create(tmp_path / "b", prompts=6)
    grow(through, 6)
    for _ in range(3):
        grow(stopped, 2)
    assert {name: path.read_bytes() for name, path in parquets(through).items()} == {
        name: path.read_bytes() for name, path in parquets(stopped).items()
    }


def test_the_history_of_a_run_has_all_judged_programs(tmp_path: Path):
    files = create(tmp_path)
    start = stored_run.read_run_history(files).start
    scored = a_judged(files.run_id, 1, 0, scores=(1.0, 2.0), niche="1", parents=[start.id], cost_usd=0.5)
    ours = a_judged(files.run_id, 1, 1, outcome=Outcome.SANDBOX_ERROR, cost_usd=None)
    crashed = a_judged(files.run_id, 1, 2, outcome=Outcome.CRASHED, cost_usd=0.25)
    unparsable = a_judged(files.run_id, 1, 3, outcome=Outcome.UNPARSABLE, cost_usd=0.25)
    changes = (Join("1", scored.id), Reset("2", scored.id))
    record.commit(files, a_generation(1, [scored, ours, crashed, unparsable], scored.program(), changes))
    past = stored_run.read_run_history(files)
    assert past.start == start
    assert past.programs == {start.id: start, scored.id: scored.program()}
    assert past.steps == (Step(1, is_committed=True, changes={0: changes}, night=1),)
    assert past.generations == 1
    assert crashed.candidate.code_hash in past.code_hashes
    assert ours.candidate.code_hash not in past.code_hashes, "it is evaluated again"
    assert "" not in past.code_hashes


def test_bodies_whose_hashes_an_earlier_version_stored_are_hashed_anew(tmp_path: Path):
    files = create(tmp_path)
    judged = a_judged(files.run_id, 1, 0, scores=(1.0, 2.0))
    older = replace(judged, candidate=replace(judged.candidate, code_hash="c7d9e3000630b291"))
    record.commit(files, a_generation(1, [older], older.program()))
    run, past = stored_run.read_run(files), stored_run.read_run_history(files)
    assert past.unhashed == {judged.candidate.body}
    hashes = SearchState(run, past).hashes
    assert run.problem.code_hash(judged.candidate.body) in hashes
    assert "c7d9e3000630b291" not in hashes


def test_a_comparison_of_records_leaves_out_hashes_that_an_earlier_version_stored(tmp_path: Path):
    judged = a_judged("r", 1, 0, scores=(1.0, 2.0))
    records = []
    for name, code_hash in (("now", judged.candidate.code_hash), ("older", "c7d9e3000630b291"), ("other", "0" * 20)):
        files = create(tmp_path / name)
        same = replace(judged, id=f"{files.run_id}-1-0", candidate=replace(judged.candidate, code_hash=code_hash))
        record.commit(files, a_generation(1, [same], same.program()))
        records.append(files)
    now, older, other = records
    assert compare(older, now, [0, 1]).first is None
    found = compare(other, now, [0, 1]).first
    assert found is not None
    assert set(found.recorded) == {"code_hash"}


def test_expansions_come_back_with_their_samples_and_in_their_place(tmp_path: Path):
    files = create(tmp_path)
    start = stored_run.read_run_history(files).start
    first, second = (a_judged(files.run_id, 1, index, scores=(1.0, index)) for index in range(2))
    changes = {
        0: (Expand("0", start.id, 4), Join("0", first.id), Expand("0", first.id, 3)),
        2: (Expand("1", start.id, 1), Join("1", second.id), Reset("2", first.id)),
    }
    generation = a_generation(1, [first, second], second.program())
    record.commit(files, replace(generation, changes=changes))
    (step,) = stored_run.read_run_history(files).steps
    assert step.changes == changes
    assert [(row["event"], row["samples"]) for row in rows(files, 1, "population")] == [
        *(("expanded", 4), ("joined", None), ("expanded", 3)),
        *(("expanded", 1), ("joined", None), ("founded", None)),
    ]
    (row,) = rows(files, 1, "generation")
    assert row["reset_niches"] == ["2"]


def test_a_candidate_is_written_in_full(tmp_path: Path):
    files = create(tmp_path)
    start = stored_run.read_run_history(files).start
    text = "Here:\r\n```python\nreturn 1\n```\n\x1b[31mé😀\0\u2028"
    judged = a_judged(files.run_id, 1, 0, scores=(1.0, -0.0), niche="2", parents=[start.id], body="return 1", text=text)
    faulty = a_judged(files.run_id, 1, 1, outcome=Outcome.TIMED_OUT, cost_usd=None)
    record.commit(files, a_generation(1, [judged, faulty], judged.program()))
    first, second = rows(files, 1)
    assert list(first) == [name for name, _, _ in tables.describe(tables.PROGRAMS)]
    assert first["completion"] == text
    assert first["prompt"] == judged.candidate.prompt.text
    assert (first["program_id"], first["parent_ids"], first["niche"]) == (judged.id, [start.id], "2")
    assert (first["score"], first["scores"], first["outcome"], first["error"]) == (0.5, [1.0, 0.0], "scored", "")
    assert first["asked_at"] == judged.candidate.completion.asked_at
    assert (second["score"], second["scores"], second["outcome"], second["cost_usd"]) == (None, [], "timed_out", None)
    assert second["error"] == "it is timed_out"
    (generation,) = rows(files, 1, "generation")
    assert dict(generation["outcomes"]) == {"scored": 1, "timed_out": 1}
    assert (generation["candidates"], generation["generation_best"], generation["cost_usd"]) == (2, 0.5, 0.5)
    assert (generation["tokens_in"], generation["tokens_out"], generation["state"]) == (200, 20, "committed")
    assert (first["tokens_cached"], generation["tokens_cached"]) == (0, 0)
    kept, _ = completions_of([{**first, "tokens_cached": 7}, second], samples=2)
    assert kept.tokens_cached == 7


@pytest.mark.parametrize(("text", "error"), [("", "it is unparsable"), ("print(", "")])
def test_why_a_completion_has_no_text_is_read_back(tmp_path: Path, text: str, error: str):
    """An agent that changed nothing says so in place of a text; what the parser says of a text, it says again."""
    files = create(tmp_path)
    judged = a_judged(files.run_id, 1, 0, outcome=Outcome.UNPARSABLE, text=text)
    record.commit(files, a_generation(1, [judged], stored_run.read_run_history(files).start))
    assert [one.error for one in completions_of(rows(files, 1), samples=1)] == [error]


def test_tokens_and_price_of_questions_count_in_their_generation(tmp_path: Path):
    files = create(tmp_path)
    judged = a_judged(files.run_id, 1, 0, scores=(1.0, 1.0))
    record.commit(files, a_generation(1, [judged], judged.program(), questions=(an_answer(),)))
    (row,) = rows(files, 1, "generation")
    assert [row[name] for name in ("tokens_in", "tokens_out", "tokens_cached", "cost_usd")] == [130, 14, 20, 0.75]
    assert row["unused_usd"] == 0.25
    (kept,) = stored_run.read_answers(files, 1)
    assert json.loads(kept.text) == json.loads(an_answer().text)
    assert replace(kept, text="") == replace(an_answer(), text="")


def test_equal_scores_have_the_same_cluster_even_with_negative_zero(tmp_path: Path):
    files = create(tmp_path)
    scores = [(0.0, 1.0), (-0.0, 1.0), (1.0, 0.0)]
    judged = [a_judged(files.run_id, 1, place, scores=pair) for place, pair in enumerate(scores)]
    record.commit(files, a_generation(1, judged, judged[0].program(), [Join("0", program.id) for program in judged]))
    first, second, third = (row["cluster"] for row in rows(files, 1, "population"))
    assert first == second != third
    assert len(first) == 12


# Gaps, failures, repeated commits


def test_generations_after_a_gap_are_ignored(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 2)
    until = portrait(rebuilt(files))
    grow(files, 3)
    shutil.rmtree(files.generation(3))
    past = stored_run.read_run_history(files)
    assert past.generations == 2
    assert len(past.steps) == 2
    assert portrait(rebuilt(files)) == until


def test_a_run_without_its_start_program_is_an_error(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 1)
    shutil.rmtree(files.generation(0))
    with pytest.raises(HistoryError, match="start program"):
        stored_run.read_run_history(files)


def test_failed_attempts_are_kept_apart_and_appear_in_the_view_only(tmp_path: Path):
    files = create(tmp_path)
    best = stored_run.read_run_history(files).start
    for attempt in (1, 2):
        assert files.failed_attempts(1) == attempt - 1
        failed = a_generation(1, [], best, attempt=attempt, error="the engine went away\nLook: overnight doctor")
        record.record_failure(files, failed)
    assert stored_run.read_run_history(files).generations == 0
    assert files.committed() == [0]
    grow(files, 1)
    found = Database(tmp_path).rows(
        "SELECT generation, attempt, state, error, candidates FROM generations ORDER BY generation, state DESC, attempt"
    )
    assert [(row["generation"], row["attempt"], row["state"], row["candidates"]) for row in found] == [
        (0, 1, "committed", 1),
        (1, 1, "failed", 0),
        (1, 2, "failed", 0),
        (1, 1, "committed", 3),
    ]
    assert found[1]["error"].startswith("the engine went away")
    assert Database(tmp_path).rows("SELECT generations, samples FROM runs") == [{"generations": 1, "samples": 3}]


# Nights


def test_a_night_is_written_at_its_start_and_again_at_its_end(tmp_path: Path):
    files = create(tmp_path)
    start = stored_run.read_run_history(files).start
    begun = NightRecord(1, NOW, -9.0, -9.0, start.id)
    record.write_night(files, begun)
    assert stored_run.read_night(files, 1, {}) == begun
    finalists = (Finalist(start, -9.0, None, -1.0), Finalist(start, -9.0, 2.0, None))
    ended = replace(
        begun,
        ended_at=NOW + timedelta(hours=8),
        generations=3,
        samples=9,
        cost_usd=0.5,
        finalists=finalists,
        stop_reason=StopReason.BUDGET,
        error="",
        flow_run_id="abc",
    )
    record.write_night(files, ended)
    assert stored_run.read_night(files, 1, {start.id: start}) == ended
    assert len(files.nights()) == 1


def test_the_last_night_with_a_final_evaluation_is_found(tmp_path: Path):
    files = create(tmp_path)
    start = stored_run.read_run_history(files).start
    known = {start.id: start}
    assert stored_run.last_finished_night(files, known) is None
    night = NightRecord(1, NOW, -9.0, -9.0, start.id, finalists=(Finalist(start, -9.0, None, None),))
    record.write_night(files, night)
    record.write_night(files, NightRecord(2, NOW, -9.0, -9.0, start.id))
    assert stored_run.last_finished_night(files, known) == night


# Reproducibility


def without_times(table: pa.Table) -> pa.Table:
    return table.select([field.name for field in table.schema if not pa.types.is_timestamp(field.type)])


def test_the_same_generations_at_another_time_differ_in_their_times_only(tmp_path: Path):
    later = NOW + timedelta(days=3, seconds=1)
    early, late = create(tmp_path / "one", prompts=8), create(tmp_path / "other", prompts=8, clock=later)
    grow(early, 5)
    grow(late, 5, clock=later)
    for name, path in parquets(early).items():
        first, second = read_file(path), read_file(parquets(late)[name])
        assert without_times(first).equals(without_times(second), check_metadata=True), name
        if "population" not in name:
            assert not first.equals(second), name


def test_skipped_scores_are_null_and_the_program_has_no_score(tmp_path: Path):
    files = create(tmp_path)
    start = stored_run.read_run_history(files).start
    judged = a_judged(files.run_id, 1, 0, outcome=Outcome.REJECTED)
    verdict = replace(judged.verdict, scores=(0.25,), skipped=1)
    record.commit(files, a_generation(1, [replace(judged, verdict=verdict)], start))
    database = Database(tmp_path)
    (row,) = database.rows("SELECT outcome, score, scores FROM programs WHERE generation = 1")
    assert (row["outcome"], row["score"], row["scores"]) == ("rejected", None, [0.25, None])
    rows = database.rows("SELECT input, score, state FROM scores WHERE generation = 1 ORDER BY input")
    assert [tuple(row.values()) for row in rows] == [(1, 0.25, "scored"), (2, None, "skipped")]
    past = stored_run.read_run_history(files)
    assert list(past.programs.values()) == [start]
    assert judged.candidate.code_hash in past.code_hashes, "it was judged"


# The problem's own files


def a_run_with_files(history: Path) -> tuple[RunRecord, RunFiles]:
    problem = replace(a_problem(), files=(File("a.bin", bytes(range(256))), File("lib/b.py", b"x = 1\r\n")))
    run, files = a_run("r", problem), files_of(LocalBackend(history), "r")
    start = a_judged("r", 0, 0, scores=(0.0, 0.0))
    record.create(files, run, a_generation(0, [start], start.program()))
    return run, files


def test_a_run_has_the_problem_s_own_files(tmp_path: Path):
    run, files = a_run_with_files(tmp_path)
    assert stored_run.read_run(files).problem.files == run.problem.files
    (row,) = Database(tmp_path).rows("SELECT files, specification_hash FROM runs")
    assert dict(row["files"]) == {file.path: file.hash for file in run.problem.files}
    assert row["specification_hash"] == run.problem.hash


def test_a_changed_problem_file_in_the_history_is_an_error(tmp_path: Path):
    _, files = a_run_with_files(tmp_path)
    rows = [{"path": "a.bin", "content": b"other"}, {"path": "lib/b.py", "content": b"x = 1\r\n"}]
    write_file(files.backend, files.problem_files, pa.Table.from_pylist(rows, tables.FILES))
    with pytest.raises(HistoryError, match="does not hold the files"):
        stored_run.read_run(files)
    files.problem_files.unlink()
    with pytest.raises(HistoryError, match="no file"):
        stored_run.read_run(files)
