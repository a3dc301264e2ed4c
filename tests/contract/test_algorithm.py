"""Every search algorithm passes the contract, with its default settings and with some others."""

from __future__ import annotations

from typing import Any

import pytest

from overnight.schemas.algorithm import Algorithm
from overnight.schemas.algorithm_settings import algorithm_kinds
from overnight.schemas.search_settings import Search
from overnight.tasks.select import create_algorithm
from overnight.testing.algorithms import START, AlgorithmContract, Make

CASES: list[dict[str, Any]] = [
    *({"name": kind.algorithm_name()} for kind in algorithm_kinds() if kind.algorithm_name() != "tree"),
    *({"name": name, "islands": 3, "parents": 4} for name in ("islands", "funsearch")),
    {"name": "halving", "searches": 4, "budget": 60},
    {"name": "weighted", "archive": 3},
    {"name": "map-elites", "first_programs": 8, "centroids": 3},
    {"name": "map-elites", "variant": "grid"},
]


def makes(settings: dict[str, Any]) -> Make:
    """Return a function that makes the algorithm with these settings for a seed."""

    def make(seed: int = 0) -> Algorithm:
        return create_algorithm(Search.model_validate({"algorithm": settings}).algorithm, START, seed)

    return make


class TestAlgorithms(AlgorithmContract):
    """All that draw at random."""

    @pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case.values())))
    def make(self, request: pytest.FixtureRequest) -> Make:
        return makes(request.param)


class TestTree(AlgorithmContract):
    """It draws nothing."""

    draws = False

    @pytest.fixture(params=[{}, {"states": 4}, {"variant": "uct"}], ids=str)
    def make(self, request: pytest.FixtureRequest) -> Make:
        return makes({"name": "tree", **request.param})
