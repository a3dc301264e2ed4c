"""Matrix multiplication: the schemes of Strassen and Laderman are accepted, over Z and mod 2; near misses are not."""

from __future__ import annotations

import inspect
import itertools
import random
import re
from typing import Any

import numpy as np
import pytest

from tests.problems.library import execute, load

Scheme = list[list[list[int]]]
NAMES = ("matrix-multiplication", "matrix-multiplication-4")

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


ALPHATENSOR = """
0004 0100 0013  0064 0890 0018  0054 0405 0014  0044 0d95 0010  0001 0001 0105  0101 039b 0100
0501 0302 0102  0367 0090 0008  3002 0045 1004  6002 0320 1002  2002 0375 1000  3057 0005 0004
6507 0300 0002  1000 3046 5400  9008 3002 7602  8008 7402 7420  0301 0098 0108  9a08 3000 a602
0a08 3020 ab02  0808 b820 8b20  0020 58c0 8090  00a8 5040 c0d4  c008 5400 7064  c058 0400 0064
4828 5820 8020  0400 9a02 0320  0088 d048 84d0  0098 9008 0cd8  6a08 0020 a002  c0a8 5000 c064
0008 1000 7bdf  0c08 9800 0ba8  1110 000e 0400  30a8 0040 c004  8880 e000 8420  0c68 0800 00a8
4440 0e00 0020  2220 00e0 8000  0002 0010 1009  0c98 9000 0ca8  4000 5620 3020  0010 940c 0450
0398 0008 0c08  1288 3048 8400  0200 30a8 8900  8418 9402 0420  9508 0002 0602
"""
"""47 products for 4 x 4 over Z2: factors of A, B and C as hexadecimal numbers, entry (i, j) is bit 4i + j.

Fawzi et al., Nature 610 (2022); algorithms/factorizations_f2.npz of google-deepmind/alphatensor, with C transposed.
"""


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


def bits(text: str) -> Scheme:
    numbers = [int(word, 16) for word in text.split()]
    factors = [[number >> bit & 1 for bit in range(16)] for number in numbers]
    return [factors[place : place + 3] for place in range(0, len(factors), 3)]


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


def test_the_47_products_of_alphatensor_are_right_mod_2_and_none_is_left_over(program: dict[str, Any]):
    scheme = bits(ALPHATENSOR)
    assert load("matrix-multiplication-4").settings.known.best == -len(scheme) == -47
    program["check"](scheme, 4, 2)
    for place in range(47):
        with pytest.raises(ValueError, match=r"4 x 4 matrices over Z2"):
            program["check"](scheme[:place] + scheme[place + 1 :], 4, 2)
    with pytest.raises(ValueError, match=r"over Z$"):
        program["check"](scheme, 4, 0)


def test_no_entry_of_the_47_products_may_be_another_one(program: dict[str, Any]):
    scheme = bits(ALPHATENSOR)
    for r, k, entry in itertools.product(range(0, 47, 5), range(3), range(16)):
        scheme[r][k][entry] ^= 1
        with pytest.raises(ValueError, match="over Z2"):
            program["check"](scheme, 4, 2)
        scheme[r][k][entry] ^= 1


def test_a_scheme_of_another_size_is_refused(program: dict[str, Any]):
    with pytest.raises(ValueError, match="reshape"):
        program["check"](read(STRASSEN, 2), 3, 2)


@pytest.fixture
def two_by_two() -> dict[str, Any]:
    """A program whose searches end at Strassen's seven products."""
    program = execute("matrix-multiplication")
    program.update(ENOUGH=7, FEWEST=7)
    return program


def test_the_search_finds_seven_products_for_two_by_two(two_by_two: dict[str, Any]):
    two_by_two["priority"] = lambda growth, matches, merges, age, step: merges
    assert [two_by_two["evaluate"](2, seed) for seed in range(1, 6)] == [-7] * 5


def test_only_a_search_that_ends_with_too_many_products_loses_the_share_of_its_steps(two_by_two: dict[str, Any]):
    scheme, found = two_by_two["search"](2, random.Random(1))
    assert len(scheme) == 7
    assert 0 < found < two_by_two["STEPS"]
    two_by_two["ENOUGH"] = 6
    assert two_by_two["evaluate"](2, 1) == -7 - found / two_by_two["STEPS"]
    two_by_two["search"] = lambda n, draw: (two_by_two["start"](n), 0)
    assert two_by_two["evaluate"](2, 1) == -8, "nothing found"


def test_a_search_that_is_stuck_with_too_many_products_splits_and_goes_on(two_by_two: dict[str, Any]):
    """Strassen's scheme has no flip, so that a search for six products is at a dead end with seven."""
    two_by_two.update(ENOUGH=6, FEWEST=6, STEPS=2000, PATIENCE=100)
    assert 7 in splits_of(two_by_two)
    assert set(splits_of(two_by_two)) <= {7, 8, 9}, "at most one product more than the best scheme"


def test_a_search_that_is_stuck_with_few_enough_products_ends(two_by_two: dict[str, Any]):
    two_by_two.update(ENOUGH=7, FEWEST=6, STEPS=2000, PATIENCE=100)
    assert 7 not in splits_of(two_by_two)


def splits_of(program: dict[str, Any]) -> list[int]:
    """How many products the schemes had that a search split, which ended with seven."""
    splits, split = [], execute("matrix-multiplication")["split"]
    program["split"] = lambda scheme, draw: splits.append(len(scheme)) or split(scheme, draw)
    scheme, _ = program["search"](2, random.Random(1))
    assert len(scheme) == 7
    return splits


def test_a_split_keeps_a_scheme_right(program: dict[str, Any]):
    draw, scheme = random.Random(3), program["start"](3)
    for _ in range(50):
        larger = program["split"](scheme, draw)
        assert len(larger) <= len(scheme) + 1
        program["check"](program["as_vectors"](larger, 3), 3, 2)
        scheme = program["merged"](larger)
        program["check"](program["as_vectors"](scheme, 3), 3, 2)


def test_flips_and_merges_keep_every_scheme_right(program: dict[str, Any]):
    draw, n = random.Random(5), 2
    places = itertools.product(range(n), repeat=3)
    scheme = [(1 << i * n + k, 1 << k * n + j, 1 << i * n + j) for i, j, k in places]
    index = program["indexed"](scheme)
    for _ in range(3000):
        for flip in program["several"](scheme, index, draw)[:1]:
            scheme, index = program["flipped"](flip, scheme, index)
            assert {key: products for key, products in index.items() if products} == program["indexed"](scheme)
            program["check"](program["as_vectors"](scheme, n), n, 2)
    assert len(scheme) < 8


def test_four_by_four_begins_with_blocks_and_walks_down_to_strassen_twice():
    program = execute("matrix-multiplication-4")
    start = program["start"](4)
    assert len(start) == 56
    program["check"](program["as_vectors"](start, 4), 4, 2)
    program["FEWEST"] = 49
    assert program["long_walk"](4, 1) == -49 == load("matrix-multiplication-4").settings.known.honesty


def test_both_problems_share_their_search_and_their_check():
    three, four = (execute(name) for name in NAMES)
    same = set(three) & set(four) - {"start"}
    functions = [name for name in same if inspect.isfunction(three[name])]
    assert {"check", "search", "split", "drawn", "merged", "flipped", "chosen", "long_walk"} <= set(functions)
    for name in functions:
        assert three[name].__code__.co_code == four[name].__code__.co_code, name


@pytest.mark.parametrize("name", NAMES)
def test_the_field_is_named_where_scores_are_shown(name: str):
    settings = load(name).settings
    assert "Z2" in settings.title
    assert "Z2" in settings.score_name
