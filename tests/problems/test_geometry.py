"""Circles, step functions and points: exact arithmetic accepts what is right and refuses what is only nearly so."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.problems.library import execute

Circle = tuple[float, float, float]
QUARTERS: list[Circle] = [(0.25, 0.25, 0.25), (0.75, 0.25, 0.25), (0.25, 0.75, 0.25), (0.75, 0.75, 0.25)]


def program_that(name: str, function: str, answer: Any) -> dict[str, Any]:
    """A specification whose evolved function returns the same whatever it is asked."""
    program = execute(name)
    program[function] = lambda *_: answer
    return program


# Circles


@pytest.mark.parametrize("n", [26, 32])
def test_circles_that_touch_each_other_and_the_border_are_accepted_as_they_are(n: int):
    program = program_that(f"circle-packing-{n}", "place", QUARTERS)
    assert program["overlap"](QUARTERS) == ""
    assert program["evaluate"](4) == 1.0


@pytest.mark.parametrize("n", [26, 32])
@pytest.mark.parametrize(
    "change",
    [(0, 0, math.ulp(0.25)), (math.ulp(0.25), 0, 0), (0, -math.ulp(0.25), 0)],
    ids=["larger by one bit", "moved by one bit", "over the border by one bit"],
)
def test_one_bit_too_much_is_an_overlap(n: int, change: Circle):
    x, y, r = (a + b for a, b in zip(QUARTERS[0], change, strict=True))
    near_miss = [(x, y, r), *QUARTERS[1:]]
    program = program_that(f"circle-packing-{n}", "place", near_miss)
    assert program["overlap"](near_miss)
    assert 1 - 1e-12 < program["evaluate"](4) < 1


@pytest.mark.parametrize("n", [26, 32])
def test_a_record_that_needs_a_tolerance_is_none(n: int):
    inflated = [(x, y, r * (1 + 1e-6)) for x, y, r in QUARTERS]
    assert program_that(f"circle-packing-{n}", "place", inflated)["evaluate"](4) <= 1
    huge = [(x, y, 1.0) for x, y, _ in QUARTERS]
    assert program_that(f"circle-packing-{n}", "place", huge)["evaluate"](4) <= 1


@pytest.mark.parametrize(
    "circles",
    [
        QUARTERS[:3],
        [*QUARTERS, (0.5, 0.5, 0.0)],
        [*QUARTERS[:3], (0.75, 0.75, math.nan)],
        [*QUARTERS[:3], (0.75, 0.75, -0.1)],
        [*QUARTERS[:3], (1.5, 0.75, 0.1)],
    ],
    ids=["too few", "too many", "no number", "negative", "outside"],
)
def test_what_are_not_circles_in_the_square_is_refused(circles: list[Circle]):
    with pytest.raises(ValueError, match=r"place must return|must be from 0 to 1"):
        program_that("circle-packing-26", "place", circles)["evaluate"](4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=2, max_size=8))
def test_whatever_is_placed_ends_without_overlap(circles: list[Circle]):
    program = program_that("circle-packing-26", "place", circles)
    placed = program["evaluate"](len(circles))
    assert 0 <= placed <= sum(r for _, _, r in circles) * (1 + 1e-12)
    assert placed <= math.sqrt(len(circles) / math.pi)


# Minimum overlap


@pytest.fixture(scope="module")
def largest_overlap() -> Any:
    return execute("erdos-overlap")["largest_overlap"]


def overlap_by_definition(heights: list[int]) -> Fraction:
    """Every whole shift, both ways, with the integrals written out."""
    n = len(heights)
    h = [Fraction(height * n, 2 * sum(heights)) for height in heights]
    shifts = range(-n + 1, n)
    return max(sum(h[i] * (1 - h[i + k]) for i in range(n) if 0 <= i + k < n) for k in shifts) * Fraction(2, n)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(50, 100), min_size=1, max_size=9))
def test_the_overlap_is_the_definition(largest_overlap: Any, heights: list[int]):
    assert largest_overlap(heights) == overlap_by_definition(heights)


ANNEALED_OVERLAP = [99, 89, 80, 37, 57, 60, 15, 54, 18, 11, 5, 14, 10, 58, 15, 60, 57, 38, 70, 98, 99]


def test_an_annealed_density_is_near_the_best_known_and_more_than_1_is_refused(largest_overlap: Any):
    assert largest_overlap([1, 1]) == Fraction(1, 2)
    assert largest_overlap(ANNEALED_OVERLAP) == overlap_by_definition(ANNEALED_OVERLAP)
    assert 0.38086 < largest_overlap(ANNEALED_OVERLAP) < 0.3827
    with pytest.raises(ValueError, match="above 1"):
        largest_overlap([0, 1, 0])
    with pytest.raises(ValueError, match="above 1"):
        largest_overlap([0, 0])


@pytest.mark.parametrize("values", [[], [0.5] * 201, [0.5, math.nan], [0.5, 1.5], [-0.1, 0.5]])
@pytest.mark.parametrize("name", ["erdos-overlap", "autocorrelation-inequality"])
def test_what_is_no_density_is_refused(name: str, values: list[float]):
    if name == "autocorrelation-inequality" and values == [0.5, 1.5]:
        values = [0.0, 0.0]
    with pytest.raises(ValueError, match="density"):
        program_that(name, "density", values)["evaluate"](200)


# Autocorrelation


@pytest.fixture(scope="module")
def peak() -> Any:
    return execute("autocorrelation-inequality")["peak"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any))
def test_the_peak_is_that_of_the_convolution(peak: Any, heights: list[int]):
    convolved = np.convolve(heights, heights)
    assert peak(heights) == Fraction(2 * len(heights) * int(convolved.max()), sum(heights) ** 2)


ANNEALED_AUTOCORRELATION = [85, 72, 47, 0, 33, 24, 0, 25, 0, 25, 60, 99, 49, 68, 55, 34, 60, 46, 27, 65]


def test_an_annealed_step_function_is_near_the_best_known_and_a_factor_changes_nothing(peak: Any):
    assert peak([1]) == peak([1, 1, 1]) == 2
    annealed = peak(ANNEALED_AUTOCORRELATION)
    assert 1.50285 < annealed < 1.55
    assert peak([7 * height for height in ANNEALED_AUTOCORRELATION]) == annealed
    assert peak([height for height in ANNEALED_AUTOCORRELATION for _ in range(3)]) == annealed


# Heilbronn


def test_the_best_four_points_are_accepted_and_one_bit_outside_is_refused():
    program = execute("heilbronn-triangle")
    third = Fraction(1, 3)
    corners = [(Fraction(0), Fraction(0)), (Fraction(1), Fraction(0)), (Fraction(0), Fraction(1))]
    assert program["smallest_area"]([*corners, (third, third)]) == third
    with pytest.raises(ValueError, match="outside"):
        program["smallest_area"]([*corners, (Fraction(0), -Fraction(1, 2**60))])
    with pytest.raises(ValueError, match="outside"):
        program_that("heilbronn-triangle", "place", [(0.5, 0.5 + 2**-52), (0, 0), (1, 0)])["evaluate"](3)


def test_three_points_on_a_line_score_0_and_the_number_of_points_is_looked_at():
    on_a_line = [(0.0, 0.25), (0.25, 0.25), (0.5, 0.25), (0.1, 0.0)]
    assert program_that("heilbronn-triangle", "place", on_a_line)["evaluate"](4) == 0
    with pytest.raises(ValueError, match="5 points"):
        program_that("heilbronn-triangle", "place", on_a_line)["evaluate"](5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=3, max_size=7))
def test_the_smallest_area_is_that_of_the_integer_determinants(points: list[tuple[int, int]]):
    smallest = execute("heilbronn-triangle")["smallest_area"]
    exact = [(Fraction(x, 16), Fraction(y, 16)) for x, y in points]
    dets = [
        abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay))
        for (ax, ay), (bx, by), (cx, cy) in itertools.combinations(points, 3)
    ]
    assert smallest(exact) == Fraction(min(dets), 256)
