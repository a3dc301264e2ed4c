"""A night with any search algorithm is resumed and replayed from its files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.algorithm_settings import algorithm_kinds
from overnight.tasks.history.database import Database
from tests.flows.conftest import Night
from tests.flows.nights import require_replay

pytestmark = pytest.mark.heavy

ADDED = sorted({kind.algorithm_name() for kind in algorithm_kinds()} - {"islands", "funsearch"})
"""Algorithms that record expansions; nights of the other two are in the other tests of this folder."""

ALWAYS = "tree"
"""The one that is tried in every run of the tests; `test_core.py` tries all of them without Prefect."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == ALWAYS else pytest.mark.slow) for name in ADDED]
)
def test_a_resumed_night_goes_on_as_one_alone_and_a_replay_gives_the_same(name: str, night: Night, tmp_path: Path):
    search = {"prompts": 4, "samples": 2, "algorithm": name}
    settings: dict[str, Any] = {"sandbox": {"confirm": "never"}, "sampling": {"concurrency": 4}, "search": search}
    night(1, settings=settings)
    files = night(2)
    require_replay(files, tmp_path / "again")
    scored = "SELECT count(*) AS n FROM programs WHERE generation > 0 AND outcome = 'scored'"
    assert Database(tmp_path).rows(scored)[0]["n"] > 0
