"""Kakeya's needle: shift thin triangles so that they cover each other as well as they can.

Triangle i of n, counted from 1, has its base from x to x + 1/n at the height 0 and its tip at x + i/n and the height 1.
Improve `shifts`, which is called once and returns x of every triangle. The score is minus the area that all cover
together. It is the integral of the covered length, which is linear between the heights where two sides cross; rounding
changes it by less than 1e-9. For n = 32, Keich's construction has 0.1546, AlphaEvolve's 0.14165; the best published
one has 0.1386.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Kakeya's needle with 32 triangles"
# origin = "AlphaEvolve at scale, arXiv 2025"
# inputs = [32]
# score_name = "minus the area covered by 32 triangles"
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 512
#
# [tool.overnight.known]
# start = -0.197266
# best = -0.138596129670274
# label = "the Station, 32 triangles; AlphaEvolve (2025) had 0.141647"
# source = "arXiv 2608.23691 (2026), and github.com/dualverse-ai/station_data_v2, artifacts/kakeya_needle"
# date = "2026-08"
# honesty = -0.15459
# honesty_label = "Keich's construction (1999)"
# baseline = "keich"
# ///

from collections.abc import Sequence

import funsearch
import numpy as np

FARTHEST = 1000.0


@funsearch.run
def evaluate(n: int) -> float:
    """Return minus the area that n triangles cover."""
    return value_of(shifts(n), n)


def value_of(bases: Sequence[float], n: int) -> float:
    """Return minus the area where the base of each triangle begins at a given place."""
    left = np.array([float(x) for x in bases])
    if left.shape != (n,) or not np.all(np.abs(left) <= FARTHEST):
        raise ValueError(f"expected {n} shifts from -{FARTHEST} to {FARTHEST}")
    left -= left.min()
    tips = left + np.arange(1, n + 1) / n
    low, high = np.concatenate([left, left + 1 / n]), np.concatenate([tips, tips])
    steps = (high - low)[:, None] - (high - low)
    heights = np.divide(low - low[:, None], steps, out=np.zeros_like(steps), where=steps != 0)
    heights = np.unique(np.concatenate([[0, 1], heights[(heights > 0) & (heights < 1)]]))
    lengths = covered(heights[:, None], left, tips)
    return -float(np.diff(heights) @ (lengths[1:] + lengths[:-1])) / 2


def covered(height: np.ndarray, left: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """Return the length covered at each height; heights have the shape (m, 1)."""
    starts = left + (tips - left) * height
    ends = starts + (1 - height) / len(left)
    order = np.argsort(starts, axis=1)
    starts, ends = (np.take_along_axis(each, order, axis=1) for each in (starts, ends))
    reached = np.maximum.accumulate(ends, axis=1)
    gaps = np.maximum(starts[:, 1:] - reached[:, :-1], 0)
    return reached[:, -1] - starts[:, 0] - gaps.sum(axis=1)


def keich(n: int) -> float:
    """Return the score of Keich's construction for a power of 2: each digit of i - 1 shifts by its own amount."""
    digits = n.bit_length() - 1
    places = range(1, digits + 1)
    return value_of([sum((1 - j) / 2**j / digits for j in places if i >> (digits - j) & 1) for i in range(n)], n)


@funsearch.draw
def picture(n: int) -> str:
    """Draw the triangles."""
    bases = [float(x) for x in shifts(n)]
    area = -value_of(bases, n)
    tips = [x + i / n for i, x in enumerate(bases, 1)]
    left, right = min(bases), max(*tips, max(bases) + 1 / n)
    drawing = funsearch.svg.Picture(420, 340, f"{n} triangles that cover an area of {area:.6f} together")
    for x, tip in zip(bases, tips, strict=True):
        corners = [(10 + 400 * (at - left) / (right - left), y) for at, y in ((x, 310), (x + 1 / n, 310), (tip, 10))]
        drawing.polygon(
            corners, stroke=funsearch.svg.BLUE, stroke_width=0.3, fill=funsearch.svg.BLUE, fill_opacity=0.25
        )
    drawing.text(10, 332, f"area {area:.6f}")
    return str(drawing)


@funsearch.evolve
def shifts(n: int) -> list[float]:
    """Return where the base of each triangle begins.

    Args:
        n: How many triangles there are.

    Returns:
        n numbers from -1000 to 1000, of the triangles 1 to n in this order; the tip of triangle i is i/n farther to the
        right.
    """
    return [-0.5 * i / n for i in range(1, n + 1)]
