"""Admissible sets, cycles, corners, sorting networks: what is known to be right is accepted, a near miss is not."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.problems.library import execute

Network = list[tuple[int, int]]


# Admissible sets


@pytest.fixture(scope="module")
def admissible() -> dict[str, Any]:
    return execute("admissible-set")


def is_admissible(vectors: list[tuple[int, ...]]) -> bool:
    """By definition."""
    supports = {tuple(entry != 0 for entry in vector) for vector in vectors}
    telling = ([0, 1, 2], [0, 0, 1], [0, 0, 2])
    return len(supports) == len(vectors) and all(
        any(sorted(entries) in telling for entries in zip(*three, strict=True))
        for three in itertools.combinations(vectors, 3)
    )


@pytest.mark.parametrize(("n", "w", "size"), [(6, 4, 15), (9, 6, 84), (12, 8, 495)])
def test_full_admissible_sets_are_found_and_accepted(admissible: dict[str, Any], n: int, w: int, size: int):
    vectors = [vector for family in admissible["solve"](n, w) for vector in admissible["turned"](family)]
    assert admissible["evaluate"](n, w) == len(set(vectors)) == size == math.comb(n, w)
    assert is_admissible(random.Random(1).sample(vectors, 15))


def test_of_a_full_set_no_family_can_be_doubled_or_made_heavier(admissible: dict[str, Any]):
    families = admissible["solve"](9, 6)
    with pytest.raises(ValueError, match="same places"):
        admissible["check"]([*families, families[0]], 6)
    with pytest.raises(ValueError, match="nonzero entries"):
        admissible["check"]([*families, (5, 5, 5)], 6)


@settings(max_examples=150, deadline=None)
@given(st.sets(st.tuples(*[st.integers(0, 6)] * 2), min_size=1, max_size=4), st.integers(2, 5))
def test_the_check_of_admissible_sets_is_the_definition(admissible: dict[str, Any], picked: set[Any], w: int):
    weights = [0, 1, 1, 2, 2, 3, 3]
    families = sorted(family for family in picked if sum(weights[three] for three in family) == w)
    vectors = [vector for family in families for vector in admissible["turned"](family)]
    if not families or is_admissible(vectors):
        assert not families or admissible["check"](families, w) is None
    else:
        with pytest.raises(ValueError, match=r"same places|tells three"):
            admissible["check"](families, w)


# Cycles


@pytest.fixture(scope="module")
def cycles() -> dict[str, Any]:
    return execute("cyclic-graph")


PENTAGON = [(0, 0), (1, 2), (2, 4), (3, 1), (4, 3)]


def test_shannons_five_words_on_the_pentagon_are_accepted_and_none_more(cycles: dict[str, Any]):
    cycles["check"](np.array(PENTAGON), 5, 2)
    for word in itertools.product(range(5), repeat=2):
        if word not in PENTAGON:
            with pytest.raises(ValueError, match="can be mistaken"):
                cycles["check"](np.array([*PENTAGON, word]), 5, 2)
    with pytest.raises(ValueError, match="can be mistaken"):
        cycles["check"](np.array([*PENTAGON, PENTAGON[0]]), 5, 2)


def test_a_priority_that_knows_the_five_words_finds_them(cycles: dict[str, Any]):
    assert execute("cyclic-graph")["evaluate"](5, 2) == 4
    program = execute("cyclic-graph")
    program["priority"] = lambda el, num_nodes, n: float(el in PENTAGON)
    assert program["evaluate"](5, 2) == 5


@pytest.mark.parametrize("word", [(0, 5), (-1, 2), (0, 0, 0)])
def test_what_is_no_word_is_refused(cycles: dict[str, Any], word: tuple[int, ...]):
    with pytest.raises(ValueError, match="words"):
        cycles["check"](np.array([word]), 5, 2)


# Corners


def triples(x: tuple[int, ...], y: tuple[int, ...], n: int) -> tuple[float, float, float]:
    """The n-th power of the three points of dimension 1, which is a degeneration of 3^n."""
    weights = {(0, 0): (1, 0), (1, 0): (-1, 1), (0, 1): (0, -1)}
    if (1, 1) in zip(x, y, strict=True):
        return 0.0, 0.0, -1.0
    first, second = np.sum([weights[entry] for entry in zip(x, y, strict=True)], axis=0)
    return float(first), float(second), 1.0


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_powers_of_three_points_are_accepted(n: int):
    program = execute("corner-free-set")
    program["weigh"] = triples
    assert program["evaluate"](n) >= 3 - 1e-12
    chosen, _ = program["solve"](n, triples)
    assert sum((x & y) == 0 for x, y in chosen) == 3**n


def test_weights_that_harm_or_do_not_add_up_to_0_and_points_outside_are_refused():
    check = execute("corner-free-set")["check"]
    good = {(0, 0): (1, 0, -1), (1, 0): (-1, 1, 0), (0, 1): (0, -1, 1), (1, 1): (0, 0, 0)}
    corner = [(0, 0), (0, 1), (1, 0)]
    check(corner, good, 1)
    with pytest.raises(ValueError, match="harmful"):
        check(corner, dict.fromkeys(good, (0, 0, 0)), 1)
    with pytest.raises(ValueError, match="harmful"):
        check([*corner, (1, 1)], good, 1)
    with pytest.raises(ValueError, match="add up to 0"):
        check(corner, {**good, (0, 1): (0, 0, 1)}, 1)
    with pytest.raises(ValueError, match="not a set"):
        check([*corner, (0, 0)], good, 1)
    with pytest.raises(ValueError, match="not a set"):
        check([(0, 2)], {(0, 2): (0, 0, 0)}, 1)


# Sorting networks

NETWORKS: dict[int, Network] = {
    4: [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)],
    5: [(0, 3), (1, 4), (0, 2), (1, 3), (0, 1), (2, 4), (1, 2), (3, 4), (2, 3)],
    9: [
        *[(0, 3), (1, 7), (2, 5), (4, 8), (0, 7), (2, 4), (3, 8), (5, 6), (0, 2), (1, 3), (4, 5), (7, 8), (1, 4)],
        *[(3, 6), (5, 7), (0, 1), (2, 4), (3, 5), (6, 8), (2, 3), (4, 5), (6, 7), (1, 2), (3, 4), (5, 6)],
    ],
    10: [
        *[(0, 8), (1, 9), (2, 7), (3, 5), (4, 6), (0, 2), (1, 4), (5, 8), (7, 9), (0, 3), (2, 4), (5, 7), (6, 9)],
        *[(0, 1), (3, 6), (8, 9), (1, 5), (2, 3), (4, 8), (6, 7), (1, 2), (3, 5), (4, 6), (7, 8), (2, 3), (4, 5)],
        *[(6, 7), (3, 4), (5, 6)],
    ],
}


@pytest.mark.parametrize(("n", "size", "depth"), [(4, 5, 3), (5, 9, 5), (9, 25, 7), (10, 29, 8)])
def test_optimal_networks_are_accepted_and_no_comparator_can_be_left_out(n: int, size: int, depth: int):
    program, network = execute("sorting-network"), NETWORKS[n]
    check = program["check"]
    assert len(network) == size
    assert program["layers"](network, n) == depth
    check(network, n)
    for place in range(size):
        with pytest.raises(ValueError, match="does not sort"):
            check(network[:place] + network[place + 1 :], n)


def test_a_priority_that_knows_the_optimal_network_builds_it():
    program = execute("sorting-network")

    def priority(low, high, swaps, n, step):
        wanted = NETWORKS[n][step]
        return [float(pair == wanted) for pair in zip(low.tolist(), high.tolist(), strict=True)]

    program["priority"] = priority
    assert program["build"](9, priority) == NETWORKS[9]
    assert program["evaluate"](9) == {"score": -25, "layers": 7}


@pytest.mark.parametrize("comparator", [(1, 0), (0, 0), (0, 4), (-1, 2)])
def test_what_is_no_comparator_is_refused(comparator: tuple[int, int]):
    with pytest.raises(ValueError, match="comparators"):
        execute("sorting-network")["check"]([*NETWORKS[4], comparator], 4)


def test_priorities_that_are_not_one_for_each_comparator_are_refused():
    program = execute("sorting-network")
    program["priority"] = lambda low, high, swaps, n, step: 1.0
    with pytest.raises(ValueError, match="one number for each"):
        program["evaluate"](4)
