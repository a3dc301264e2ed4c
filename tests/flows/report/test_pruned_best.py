"""What a report says of a best program that stays as it was found, since what pruning left of it is worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from overnight.flows.report.build import build_report
from overnight.schemas.generation import Finalist, NightRecord
from overnight.schemas.operators import Operator
from overnight.tasks.history import record
from overnight.tasks.history.database import Database
from overnight.tasks.report.page import render
from overnight.testing.made import NOW, a_generation, a_judged, create

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.mark.parametrize(
    ("held_out", "expected"),
    [(None, "fails on the held-out inputs"), (1.0, "scores 1, not 2, on the held-out inputs"), (2.0, "")],
)
def test_a_report_names_what_pruning_left_where_it_is_refused(tmp_path: Path, held_out: float | None, expected: str):
    files = create(tmp_path)
    found, left = (a_judged(files.run_id, 1, index, scores=(3.0, 3.0)) for index in range(2))
    prompt = replace(left.candidate.prompt, operator=Operator.PRUNE, parent_ids=(found.id,))
    left = replace(left, candidate=replace(left.candidate, prompt=prompt))
    record.commit(files, a_generation(1, [found, left], found.program(), night=1))
    finalists = (Finalist(found.program(), 3.0, None, 2.0), Finalist(left.program(), 3.0, None, held_out))
    record.write_night(files, NightRecord(1, NOW, -9.0, 3.0, found.id, ended_at=NOW, finalists=finalists))
    report = build_report(Database(tmp_path), files)
    assert report.refused == (f"{left.id} {expected}" if expected else "")
    assert ('id="refused"' in render(report)) == bool(expected)
