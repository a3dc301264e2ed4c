"""A night tunes the numbers of its best program beside the answers of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from overnight.tasks.history.database import Database
from tests.flows.conftest import Night
from tests.flows.night.conftest import TwoNights
from tests.flows.night.kinds import TUNED
from tests.flows.nights import everything

pytestmark = pytest.mark.heavy


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
        _without_ids(everything(night(3, run_id=name, settings=TUNED)), name) for name in ("one", "another")
    )
    assert any(row["model"] == "builtin/tuner" for rows in first.values() for row in rows if "model" in row)
    assert first == second


def _without_ids(tables: dict[str, pa.Table], run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a run's tables, the id of each program replaced by its generation and index."""
    text = json.dumps({name: table.to_pylist() for name, table in tables.items()}, default=str)
    for table in (table for name, table in tables.items() if name.endswith("programs.parquet")):
        for row in table.select(["program_id", "generation", "index"]).to_pylist():
            text = text.replace(row["program_id"], f"program {row['generation']}/{row['index']}")
    return json.loads(text.replace(f'"{run_id}"', '"run"'))
