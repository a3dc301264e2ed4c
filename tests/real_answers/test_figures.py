"""Figures of a store whose answers are drawn with known chances: the known values are in the intervals."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest

from tests.bench.real_answers import figures, store
from tests.bench.real_answers.store import Answer

SLOPE, FLOOR, BEST = 0.3, 0.1, 10.0


def _answers(rng: Random) -> list[Answer]:
    """Return answers of six runs: nine in ten run, and they gain as often as a · gap^0.5 + c says."""
    found = []
    for run in range(6):
        score, name = 0.0, f"run {run}"
        found.append(Answer("shinka", name, 0, "0", "toy", body="start", outcome="scored", score=0.0))
        for sample in range(1, 120):
            chance = SLOPE * ((BEST - score) / BEST) ** figures.POWER + FLOOR
            valid, better = rng.random() < 0.9, rng.random() < chance
            child = score + 0.2 * (BEST - score) if better else score - 1.0
            found.append(
                Answer(
                    *("shinka", name, sample, f"{sample}", "toy"),
                    form=rng.choice(["edits", "whole"]),
                    body=f"{run} {child}",
                    parent=f"{run} {score}",
                    outcome="scored" if valid else "crashed",
                    score=child if valid else None,
                    parent_score=score,
                    tokens_out=rng.randrange(100, 300),
                )
            )
            score = child if valid and better else score
    best = Answer("shinka", "another run", 1, "1", "toy", body="best", outcome="scored", score=BEST)
    return [*found, best]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, figures.Figure]:
    folder = tmp_path_factory.mktemp("store")
    rows = store.rows_of(_answers(Random(1)), "0", is_pinned=True)
    store.write(folder / store.ANSWERS, rows, store.SCHEMA)
    figures.write(figures.figures(folder), folder / "figures.json")
    return {figure.name: figure for figure in figures.load(folder / "figures.json")}


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterator[None]:
    figures.RESAMPLES, before = 60, figures.RESAMPLES
    yield
    figures.RESAMPLES = before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("valid", 0.9),
        ("slope", SLOPE),
        ("floor", FLOOR),
        ("gain, of the gap, parent the best", 0.2),
        ("tokens of an answer", 200),
        ("better, parent the best", 0.2),
    ],
)
def test_what_answers_were_drawn_with_is_measured(found: dict[str, figures.Figure], name: str, value: float):
    figure = found[name]
    assert figure.low - 0.05 <= value <= figure.high + 0.05
    assert figure.low <= figure.value <= figure.high
    assert "FROM ranked" in figure.query or "FROM judged" in figure.query


def test_few_rows_are_no_figure(found: dict[str, figures.Figure]):
    assert "repeats, one prompt" not in found
    assert "edits where offered" not in found
    assert found["valid"].clusters == 7


def test_siblings_are_alike_as_far_as_their_clusters_differ():
    clusters = np.repeat(np.arange(50), 4)
    rng = np.random.default_rng(0)
    same, apart = np.repeat(rng.random(50) < 0.5, 4), rng.random(200) < 0.5
    assert figures.likeness(same[:, None].astype(float), clusters) == pytest.approx(1.0)
    assert figures.likeness(apart[:, None].astype(float), clusters) == pytest.approx(0.0, abs=0.1)
    assert figures.likeness(np.ones((4, 1)), np.array([0, 0, 1, 1])) == 0.0
