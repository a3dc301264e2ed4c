"""Kinds of nights: what their prompts and programs are, and that a resumed run is the same as one without a break.

Each row of `KINDS` is tried. Where something happens in between, what comes out again is tried where that is: answers
that fail (`test_replay.py`), kills (`test_core.py`, `test_judge_in_a_night.py`), what people ask for, agents, batches.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from overnight.flows.report.build import build_report
from overnight.flows.report.explanation import explain
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.report.page import render
from overnight.tasks.sample.codecs import EARLIER_TRY, LAST_TRY
from overnight.testing.fake_provider import Answer, Provider, Request, says
from tests.flows.conftest import Night
from tests.flows.night.conftest import TwoNights
from tests.flows.night.kinds import KINDS, TUNED
from tests.flows.nights import everything, require_replay

pytestmark = pytest.mark.heavy
TRIED = re.compile(f"{LAST_TRY}|{EARLIER_TRY}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_resumed_from_its_files_is_the_search_without_a_break_that_its_replay_is(
    kind: str, two_nights: TwoNights, tmp_path: Path
):
    require_replay(two_nights(kind), tmp_path / "again")


# Prompts that tell of tries that failed: what is shown comes from the files, before and after a pause


def test_prompts_tell_of_the_last_try_also_after_a_pause(two_nights: TwoNights):
    rows = Database(two_nights("feedback").backend.root).rows(
        "SELECT generation, prompt FROM programs WHERE generation > 0"
    )
    telling = [row for row in rows if TRIED.search(row["prompt"])]
    generations = [row["generation"] for row in telling]
    assert min(generations) >= 3, "the first two are asked before anything is known"
    assert max(generations) > 3, "after the pause, too"
    assert all(re.search(r"It (scored -|crashed: ValueError: no luck with) ?\d", row["prompt"]) for row in telling)


def test_failed_programs_are_repaired_beside_other_operators(two_nights: TwoNights):
    rows = Database(two_nights("repairs").backend.root).rows(
        "SELECT p.operator, p.gain, p.prompt, f.outcome AS first, f.error FROM programs p "
        "LEFT JOIN programs f ON f.program_id = p.parent_ids[1] WHERE p.generation > 0"
    )
    repairs = [row for row in rows if row["operator"] == "repair"]
    assert repairs
    assert all(row["first"] == "crashed" and row["error"] in row["prompt"] for row in repairs)
    assert {row["operator"] for row in rows} > {"repair", "refine"}
    assert all(row["gain"] is not None and row["gain"] >= 0 for row in rows)


def test_what_a_fallback_answers_says_which_model_was_asked(two_nights: TwoNights):
    rows = Database(two_nights("fallback").backend.root).rows(
        "SELECT DISTINCT model, asked_model FROM programs WHERE operator != 'tune'"
    )
    assert {tuple(row.values()) for row in rows} == {("openai/spare", "openai/down"), ("openai/test", None)}


def test_report_and_explanation_tell_of_a_best_program_that_is_a_repaired_one(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    def crash_until_repaired(number: int, request: Request) -> Answer:
        is_repair = "that works" in request["messages"][-1]["content"]
        body = f"return offset + 1 + {number} / 64" if is_repair else f"raise ValueError('no luck {number}')"
        return says(request, f"```python\ndef guess(offset):\n    {body}\n```")

    provider.script = crash_until_repaired
    sampling = {**asks["sampling"], "concurrency": 1}
    files = night(4, settings={"sampling": sampling, "search": {"samples": 1, "repairs": 1.0}})
    database = Database(tmp_path)
    report = build_report(database, files)
    (best,) = database.rows("FROM programs WHERE program_id = ?", [report.best.program_id])
    failed_id = best["parent_ids"][0]
    assert best["operator"] == "repair"
    assert f"{failed_id} (crashed)" in explain(database, best)[0]
    assert [ancestor.score for ancestor in report.lineage] == sorted(ancestor.score for ancestor in report.lineage)
    assert failed_id not in {ancestor.program_id for ancestor in report.lineage}
    assert report.lineage[0].program_id == report.start.program_id, "the parents of the failed program stand for it"
    assert best["program_id"] in render(report)


# A night that tunes the numbers of its best program beside the answers of models


def test_tuned_numbers_are_programs_of_the_run_that_cost_no_call(two_nights: TwoNights):
    history = Database(two_nights("tuner").backend.root)
    tuned = history.rows(
        "SELECT p.*, b.score AS before FROM programs p JOIN programs b ON b.program_id = p.parent_ids[-1] "
        "WHERE p.model = 'builtin/tuner' AND p.outcome = 'scored'"
    )
    assert tuned
    for row in tuned:
        assert row["operator"] == "tune"
        assert row["evaluations"] > 0
        assert row["cost_usd"] == row["tokens_in"] == row["tokens_out"] == 0
        assert row["score"] > row["before"]
        assert row["idea"].startswith("tuned numbers: ")
    (others,) = history.rows("SELECT count(*) AS n FROM programs WHERE generation > 0 AND model <> 'builtin/tuner'")
    assert others["n"] == 3 * 3 * 2, "the tuner takes the place of no prompt"
    (row,) = history.rows("SELECT sum(samples) AS samples FROM nights")
    assert row["samples"] == others["n"], "what it answers is no sample"


def test_two_runs_of_the_same_seed_have_the_same_rows_but_for_their_ids(night: Night, tmp_path: Path):
    first, second = (
        _without_ids(_begun_in_time(night(5, run_id=name, settings=TUNED)), name) for name in ("one", "another")
    )
    assert any(row["model"] == "builtin/tuner" for rows in first.values() for row in rows if "model" in row)
    assert first == second


def _begun_in_time(files: RunFiles) -> dict[str, pa.Table]:
    """Return the tables of the generations that were over when the last answer ended the tuner, whenever that was."""
    return {name: table for name, table in everything(files).items() if not name.startswith(("000004", "000005"))}


def _without_ids(tables: dict[str, pa.Table], run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a run's tables, the id of each program replaced by its generation and index."""
    text = json.dumps({name: table.to_pylist() for name, table in tables.items()}, default=str)
    for table in (table for name, table in tables.items() if name.endswith("programs.parquet")):
        for row in table.select(["program_id", "generation", "index"]).to_pylist():
            text = text.replace(row["program_id"], f"program {row['generation']}/{row['index']}")
    return json.loads(text.replace(f'"{run_id}"', '"run"'))
