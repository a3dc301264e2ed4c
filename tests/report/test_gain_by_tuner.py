"""A comparison tells apart what the tuner gained."""

from __future__ import annotations

from pathlib import Path

from flows.report.score_curves import score_curves
from schemas.program import TUNER
from tasks.history import record
from tasks.history.database import Database
from tasks.report.comparison import groups_of, render_comparison
from tests.history.made import a_generation, a_judged, create


def test_the_gain_of_the_tuner_is_that_of_its_programs_which_became_the_best(tmp_path: Path):
    made = create(tmp_path, "tuned")
    create(tmp_path, "untouched", prompts=5)
    candidates = [(-5.0, "a/model"), (-4.0, TUNER), (-4.5, TUNER), (-3.0, "a/model"), (-1.0, TUNER)]
    judged = [
        a_judged("tuned", 1, index, scores=(score,), model=model) for index, (score, model) in enumerate(candidates)
    ]
    record.commit(made, a_generation(1, judged, judged[-1].program()))
    curves = score_curves(Database(tmp_path), ["tuned", "untouched"])
    assert {curve.run_id: curve.tuner_gain for curve in curves} == {"tuned": 1.0 + 2.0, "untouched": 0.0}
    assert [group.tuner_gain for group in groups_of(curves)] == [3.0, 0.0]
    assert "Gain by the tuner" in render_comparison(curves)
