"""A night with any search algorithm is resumed and replayed from its files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.algorithm_settings import algorithm_kinds
from tasks.history.database import Database
from tests.flows.conftest import Night
from tests.flows.test_replay import replayed
from tests.flows.test_search import everything

pytestmark = [pytest.mark.docker, pytest.mark.prefect]

ADDED = sorted({kind.algorithm_name() for kind in algorithm_kinds()} - {"islands", "funsearch"})
"""Algorithms that record expansions; nights of the other two are in the other tests of this folder."""

SIMPLE = {"greedy", "weighted"}
"""Those with one niche and no state but the programs; `night/test_core.py` tries them without Prefect."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SIMPLE else ()) for name in ADDED]
)
def test_a_resumed_night_goes_on_as_one_alone_and_a_replay_gives_the_same(name: str, night: Night, tmp_path: Path):
    size = {"prompts": 4, "samples": 2}
    lean: dict[str, Any] = {"sandbox": {"confirm": "never", "slots": 1}}
    settings = {**lean, "sampling": {"concurrency": 4}, "search": {**size, "algorithm": name}}
    whole = night(3, settings=settings, history=tmp_path / "whole")
    night(1, settings=settings, history=tmp_path / "halves")
    halves = night(2, history=tmp_path / "halves")
    assert everything(whole) == everything(halves)
    found, again = replayed(whole, tmp_path / "again")
    assert found.first is None
    assert everything(again) == everything(whole)
    (row,) = Database(tmp_path / "whole").rows(
        "SELECT count(*) AS programs FROM programs WHERE generation > 0 AND outcome = 'scored'"
    )
    assert row["programs"] > 0
