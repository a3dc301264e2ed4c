"""The table at the end of a night."""

from __future__ import annotations

import pytest

from flows.cli.foreground_night import result_table
from schemas.generation import Finalist, NightRecord
from schemas.program import Program
from tasks.problems.loading.load import load_problem
from tests.history.made import NOW, TOY, a_run


@pytest.mark.parametrize(("held_out", "cell"), [(None, ""), (-3.5, "-3.5")])
def test_scores_without_a_model_are_in_the_columns_of_their_inputs(held_out: float | None, cell: str):
    known = {"honesty": -3.25, "honesty_held_out": held_out, "honesty_label": "by hand"}
    problem = load_problem(TOY, {"known": known})
    start, best = Program("s", "", (-9.0,), -9.0), Program("b", "", (-1.0,), -1.0)
    finalists = (Finalist(start, -9.0, -8.0, -7.0), Finalist(best, -1.0, -2.0, -3.0))
    night = NightRecord(1, NOW, -9.0, -1.0, "b", finalists=finalists)
    table = result_table(a_run("r", problem), night, start)
    columns = {str(column.header): [str(cell) for cell in column.cells] for column in table.columns}
    assert columns["train"] == ["-9", "-1", "-3.25"]
    assert columns["validation"] == ["-8", "-2", ""]
    assert columns["held-out"] == ["-7", "-3", cell]
