"""A score that is better than a proven optimum: the checker is wrong, and the night stops and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.schemas.errors import ImpossibleScore
from overnight.schemas.settings import Known
from overnight.tasks.history.database import Database
from tests.flows.conftest import Night


def proven(best: float) -> dict[str, object]:
    return {"known": {"best": best, "proven": True, "label": "by counting", "source": "a book"}}


@pytest.mark.heavy
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
