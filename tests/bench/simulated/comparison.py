"""Figures of a search on a simulated problem, and paired statistics of two searches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_GAP = 1e-6
"""The gap that a search which reached the optimum counts as."""

_RESAMPLES = 10_000
_AT_A_TIME = 500
"""Resamples that are drawn together, which bounds the memory."""


@dataclass(frozen=True)
class Outcome:
    """Result of one search.

    Attributes:
        area: Mean over the answers of log10 of the gap between the best score so far and the optimum; lower is better.
        gap: The gap at the end, in units of that of the start program.
        depth: Number of generations from the start program to the best one.
        unscored: Share of answers without a score, duplicates apart.
        duplicates: Share of answers that repeat a program.
    """

    area: float
    gap: float
    depth: int
    unscored: float
    duplicates: float


@dataclass(frozen=True)
class Difference:
    """A mean difference of areas; below 0 where the first search is better.

    Attributes:
        mean: Over all pairs.
        low: Lower end of its 95 % interval.
        high: Upper end.
        agreeing: Share of the cells, pairs of problem and persona, whose mean has the sign of the whole.
    """

    mean: float
    low: float
    high: float
    agreeing: float


Key = tuple[str, int, int]
"""Problem, persona, seed."""


def area(gaps: Sequence[float]) -> float:
    """Return the mean of log10 of the gaps after each answer."""
    return sum(math.log10(max(gap, LEAST_GAP)) for gap in gaps) / len(gaps)


def difference(mine: Mapping[Key, float], reference: Mapping[Key, float]) -> Difference:
    """Return the paired difference of two searches, with an interval from a hierarchical bootstrap.

    Problems are drawn, then personas for each of them, then seeds for each of these; always the same draws.

    Args:
        mine: Areas of one search, of all problems with all personas and all seeds.
        reference: Areas of the other, of the same ones.

    Raises:
        ValueError: If they are not of the same ones.
    """
    if mine.keys() != reference.keys():
        raise ValueError("expected the same problems, personas and seeds of both searches")
    pairs = _as_array({key: mine[key] - reference[key] for key in mine})
    mean = float(pairs.mean())
    low, high = np.quantile(_bootstrap(pairs), (0.025, 0.975))
    agreeing = float((np.sign(pairs.mean(axis=2)) == np.sign(mean)).mean())
    return Difference(mean, float(low), float(high), agreeing)


def _as_array(values: Mapping[Key, float]) -> NDArray[np.float64]:
    """Return values by problem, persona and seed."""
    problems, personas, seeds = (sorted({key[k] for key in values}) for k in range(3))
    return np.array([[[values[a, b, c] for c in seeds] for b in personas] for a in problems])  # pyright: ignore[reportArgumentType]


def _bootstrap(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    problems, personas, seeds = pairs.shape
    rng, means = np.random.default_rng(0), []
    for _ in range(_RESAMPLES // _AT_A_TIME):
        a = rng.integers(problems, size=(_AT_A_TIME, problems, 1, 1))
        b = rng.integers(personas, size=(_AT_A_TIME, problems, personas, 1))
        c = rng.integers(seeds, size=(_AT_A_TIME, problems, personas, seeds))
        means.append(pairs[a, b, c].mean(axis=(1, 2, 3)))
    return np.concatenate(means)
