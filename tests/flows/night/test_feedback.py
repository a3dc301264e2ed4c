"""A night whose prompts tell of tries that failed: what is shown comes from the files, before and after a pause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overnight.flows.report.build import build_report
from overnight.flows.report.explanation import explain
from overnight.tasks.history.database import Database
from overnight.tasks.report.page import render
from overnight.testing.fake_provider import Answer, Provider, Request, says
from tests.flows.conftest import Night
from tests.flows.night.conftest import TwoNights

pytestmark = pytest.mark.heavy


def test_prompts_tell_of_the_last_try_also_after_a_pause(two_nights: TwoNights):
    rows = Database(two_nights("feedback").backend.root).rows(
        "SELECT generation, prompt FROM programs WHERE generation > 0"
    )
    telling = [row for row in rows if "The last try on the best version did not do better" in row["prompt"]]
    assert {row["generation"] for row in telling} == {3, 4, 5, 6}, "the first two are asked before anything is known"
    assert any("It was crashed: ValueError: no luck with" in row["prompt"] for row in telling)


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
