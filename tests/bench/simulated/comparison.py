"""Paired statistics of two systems that searched the same problems with the same personas and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 10_000
_AT_A_TIME = 500
"""Resamples that are drawn together, which bounds the memory."""

_MOST_EXACT = 200
"""Number of pairs up to which the signed-rank test is exact."""

_LEAST_AGREEING = 0.7

Key = tuple[str, int, int]
"""Problem, persona, seed."""


@dataclass(frozen=True)
class Difference:
    """Areas of one system compared with those of another; below 0 where the first is better.

    Attributes:
        iqm: Interquartile mean of the paired differences.
        low: Lower end of its 95 % interval.
        high: Upper end.
        agreeing: Share of the cells, pairs of problem and persona, whose mean has the sign of `iqm`.
        wins: Share of the pairs in which the first is better; equal ones count half.
        a12: Chance that a search of the first is better than one of the second on the same cell, with any seeds.
        p: Two-sided p-value of Wilcoxon's signed-rank test.
    """

    iqm: float
    low: float
    high: float
    agreeing: float
    wins: float
    a12: float
    p: float

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval excludes 0 and enough cells agree, else empty."""
        if self.low <= 0.0 <= self.high or self.agreeing < _LEAST_AGREEING:
            return ""
        return "better" if self.iqm < 0 else "worse"


def difference(mine: Mapping[Key, float], reference: Mapping[Key, float]) -> Difference:
    """Compare two systems, with an interval from a hierarchical bootstrap.

    Problems are drawn, then personas for each of them, then seeds for each of these; always the same draws.

    Args:
        mine: Areas of one system, of all problems with all personas and all seeds.
        reference: Areas of the other, of the same ones.

    Raises:
        ValueError: If they are not of the same ones.
    """
    if mine.keys() != reference.keys():
        raise ValueError("expected the same problems, personas and seeds of both systems")
    first, second = _as_array(mine), _as_array(reference)
    pairs = first - second
    iqm = float(_iqms(pairs.ravel(), np.ones((1, pairs.size), np.uint16))[0])
    low, high = np.quantile(_iqms(pairs.ravel(), _draws(*pairs.shape)), (0.025, 0.975))
    agreeing = float((np.sign(pairs.mean(axis=2)) == np.sign(iqm)).mean())
    wins = float(((pairs < 0) + 0.5 * (pairs == 0)).mean())
    against = first[..., :, None] - second[..., None, :]
    a12 = float(((against < 0) + 0.5 * (against == 0)).mean())
    return Difference(iqm, float(low), float(high), agreeing, wins, a12, signed_rank_p(pairs.ravel()))


def signed_rank_p(differences: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test: exact, with ties too, for up to 200 pairs.

    Differences of 0 are left out.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0
    _, places, counts = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    doubled = (2 * ends - counts + 1)[places]  # twice the mean rank of equal ones, a whole number
    total, positive = int(doubled.sum()), int(doubled[values > 0].sum())
    if len(values) > _MOST_EXACT:
        deviation = math.sqrt(float((doubled.astype(np.float64) ** 2).sum())) / 2.0
        return min(1.0, 2.0 * NormalDist().cdf(-(abs(positive - total / 2.0) - 1.0) / deviation))
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    for rank in doubled:
        chances[rank:] = (chances[rank:] + chances[: total + 1 - rank]) / 2.0
        chances[:rank] /= 2.0
    return float(min(1.0, 2.0 * min(chances[: positive + 1].sum(), chances[positive:].sum())))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values that are adjusted for their number, after Holm."""
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, k in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - rank) * ps[k]))
        adjusted[k] = least
    return adjusted


@dataclass(frozen=True)
class Reached:
    """How often and how fast a target was reached.

    Attributes:
        share: Share of the searches that reached it.
        low: Lower end of its 95 % interval, after Wilson.
        high: Upper end.
        expected: Expected running time: answers of all searches, up to the target, for each that reached it.
    """

    share: float
    low: float
    high: float
    expected: float


def reached(answers: Sequence[int | None], budget: int) -> Reached:
    """Return how often and how fast searches reached a target.

    Args:
        answers: Number of answers that each took; `None` for those that did not reach it.
        budget: Answers that those got.
    """
    count, hits = len(answers), sum(one is not None for one in answers)
    spent = sum(budget if one is None else one for one in answers)
    share, z = hits / count, 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    expected = spent / hits if hits else math.inf
    return Reached(share, max(0.0, middle - half), min(1.0, middle + half), expected)


def _as_array(values: Mapping[Key, float]) -> NDArray[np.float64]:
    """Return values by problem, persona and seed."""
    problems, personas, seeds = (sorted({key[k] for key in values}) for k in range(3))
    return np.array([[[values[a, b, c] for c in seeds] for b in personas] for a in problems])  # pyright: ignore[reportArgumentType]


def _iqms(values: NDArray[np.float64], counts: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Return the interquartile mean of each resample: one row of how often each value is in it."""
    order = np.argsort(values, kind="stable")
    ordered, size = values[order], len(values)
    means = []
    for start in range(0, len(counts), _AT_A_TIME):
        reached_by = np.cumsum(counts[start : start + _AT_A_TIME, order], axis=1, dtype=np.float64)
        inside = np.diff(np.clip(reached_by, size / 4, 3 * size / 4), axis=1, prepend=size / 4)
        means.append(inside @ ordered / (size / 2))
    return np.concatenate(means)


@lru_cache(maxsize=8)
def _draws(problems: int, personas: int, seeds: int) -> NDArray[np.uint16]:
    """Return how often each pair is in each resample."""
    size, rng, counts = problems * personas * seeds, np.random.default_rng(0), []
    for _ in range(_RESAMPLES // _AT_A_TIME):
        a = rng.integers(problems, size=(_AT_A_TIME, problems, 1, 1))
        b = rng.integers(personas, size=(_AT_A_TIME, problems, personas, 1))
        c = rng.integers(seeds, size=(_AT_A_TIME, problems, personas, seeds))
        drawn = ((a * personas + b) * seeds + c).reshape(_AT_A_TIME, size)
        flat = (drawn + np.arange(_AT_A_TIME)[:, None] * size).ravel()
        counts.append(np.bincount(flat, minlength=_AT_A_TIME * size).reshape(_AT_A_TIME, size).astype(np.uint16))
    return np.concatenate(counts)
