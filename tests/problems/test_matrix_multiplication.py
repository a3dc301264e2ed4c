"""Matrix multiplication: the schemes of Strassen and Laderman are accepted, over Z and mod 2; near misses are not."""

from __future__ import annotations

import itertools
import random
import re
from typing import Any

import numpy as np
import pytest

from tests.problems.library import execute, load

Scheme = list[list[list[int]]]

STRASSEN = """
a11+a22 b11+b22 c11+c22
a21+a22 b11 c21-c22
a11 b12-b22 c12+c22
a22 -b11+b21 c11+c21
a11+a12 b22 -c11+c12
-a11+a21 b11+b12 c22
a12-a22 b21+b22 c11
"""

LADERMAN = """
a11+a12+a13-a21-a22-a32-a33 b22 c12
a11-a21 -b12+b22 c21+c22
a22 -b11+b12+b21-b22-b23-b31+b33 c21
-a11+a21+a22 b11-b12+b22 c12+c21+c22
a21+a22 -b11+b12 c12+c22
a11 b11 c11+c12+c13+c21+c22+c31+c33
-a11+a31+a32 b11-b13+b23 c13+c31+c33
-a11+a31 b13-b23 c31+c33
a31+a32 -b11+b13 c13+c33
a11+a12+a13-a22-a23-a31-a32 b23 c13
a32 -b11+b13+b21-b22-b23-b31+b32 c31
-a13+a32+a33 b22+b31-b32 c12+c31+c32
a13-a33 b22-b32 c31+c32
a13 b31 c11+c12+c13+c21+c23+c31+c32
a32+a33 -b31+b32 c12+c32
-a13+a22+a23 b23+b31-b33 c13+c21+c23
a13-a23 b23-b33 c21+c23
a22+a23 -b31+b33 c13+c23
a12 b21 c11
a23 b32 c22
a21 b13 c23
a31 b12 c32
a33 b33 c33
"""
"""Bull. Amer. Math. Soc. 82 (1976), p. 126."""


def read(text: str, n: int) -> Scheme:
    return [[vector(part, n) for part in line.split()] for line in text.split("\n") if line]


def vector(part: str, n: int) -> list[int]:
    entries = [0] * (n * n)
    for sign, i, j in re.findall(r"([-+]?)[abc](\d)(\d)", part):
        entries[(int(i) - 1) * n + int(j) - 1] = -1 if sign == "-" else 1
    return entries


def twice(scheme: Scheme) -> Scheme:
    """A scheme of 2 x 2 matrices for 2 x 2 matrices of 2 x 2 matrices."""

    def nested(one: list[int], two: list[int]) -> list[int]:
        return [int(x) for x in np.kron(np.array(one).reshape(2, 2), np.array(two).reshape(2, 2)).ravel()]

    return [[nested(one[k], two[k]) for k in range(3)] for one, two in itertools.product(scheme, repeat=2)]


SCHEMES = {
    "Strassen": (read(STRASSEN, 2), 2, 7),
    "Strassen twice": (twice(read(STRASSEN, 2)), 4, 49),
    "Laderman": (read(LADERMAN, 3), 3, 23),
}


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return execute("matrix-multiplication")


@pytest.mark.parametrize("modulus", [0, 2], ids=["Z", "Z2"])
@pytest.mark.parametrize(("scheme", "n", "size"), SCHEMES.values(), ids=SCHEMES)
def test_known_schemes_are_accepted_and_no_product_can_be_left_out(
    program: dict[str, Any], scheme: Scheme, n: int, size: int, modulus: int
):
    assert len(scheme) == size
    program["check"](scheme, n, modulus)
    for place in range(size):
        with pytest.raises(ValueError, match="does not multiply"):
            program["check"](scheme[:place] + scheme[place + 1 :], n, modulus)


@pytest.mark.parametrize("change", [1, -1])
def test_no_coefficient_may_be_another_one(program: dict[str, Any], change: int):
    scheme = read(STRASSEN, 2)
    for r, k, entry in itertools.product(range(7), range(3), range(4)):
        scheme[r][k][entry] += change
        with pytest.raises(ValueError, match=r"over Z$"):
            program["check"](scheme, 2, 0)
        scheme[r][k][entry] -= change


def test_a_scheme_that_is_right_mod_2_only_is_told_from_one_over_the_integers(program: dict[str, Any]):
    scheme = [[[abs(entry) for entry in factor] for factor in product] for product in read(STRASSEN, 2)]
    program["check"](scheme, 2, 2)
    with pytest.raises(ValueError, match=r"over Z$"):
        program["check"](scheme, 2, 0)


def test_a_scheme_of_another_size_is_refused(program: dict[str, Any]):
    with pytest.raises(ValueError, match="reshape"):
        program["check"](read(STRASSEN, 2), 3, 2)


def test_the_search_finds_seven_products_for_two_by_two():
    program = execute("matrix-multiplication")
    program["priority"] = lambda growth, matches, merges, age, step: 1000 * merges + age
    assert max(program["evaluate"](2, seed) for seed in range(1, 6)) == -7


def test_flips_and_merges_keep_every_scheme_right(program: dict[str, Any]):
    draw, n = random.Random(5), 2
    places = itertools.product(range(n), repeat=3)
    scheme = [(1 << i * n + k, 1 << k * n + j, 1 << i * n + j) for i, j, k in places]
    for _ in range(3000):
        flip = program["drawn"](scheme, program["indexed"](scheme), draw)
        if flip:
            rest = [product for place, product in enumerate(scheme) if place not in flip[:2]]
            scheme = program["merged"](rest + flip[2])
            bits = [[[factor >> bit & 1 for bit in range(4)] for factor in product] for product in scheme]
            program["check"](bits, n, 2)
    assert len(scheme) < 8


def test_the_field_is_named_where_scores_are_shown():
    settings = load("matrix-multiplication").settings
    assert "Z2" in settings.title
    assert "Z2" in settings.score_name
