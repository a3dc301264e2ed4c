"""Sorting with machine instructions: the shortest known programs are accepted, near misses are not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.problems.library import execute, load

Program = list[tuple[str, int, int]]

SHORTEST: Program = [
    *[("mov", 3, 1), ("cmp", 1, 2), ("cmovg", 1, 2), ("cmovg", 2, 3)],
    *[("mov", 3, 0), ("cmp", 0, 2), ("cmovg", 3, 2), ("cmovg", 2, 0)],
    *[("cmp", 0, 1), ("cmovg", 0, 1), ("cmovg", 1, 3)],
]
"""Eleven: AlphaDev's trick (Mankowitz et al., Nature 618, 2023, fig. 3): one copy less where two are in order."""


def network(comparators: list[tuple[int, int]], free: int) -> Program:
    """Four instructions for each comparator."""
    parts = [[("mov", free, i), ("cmp", i, j), ("cmovg", i, j), ("cmovg", j, free)] for i, j in comparators]
    return [instruction for part in parts for instruction in part]


NETWORKS = {3: network([(0, 1), (1, 2), (0, 1)], 3), 4: network([(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)], 4)}


@pytest.fixture(scope="module")
def sort3() -> dict[str, Any]:
    return execute("sort3")


@pytest.mark.parametrize(
    ("name", "n", "program", "length"),
    [("sort3", 3, SHORTEST, 11), ("sort3", 3, NETWORKS[3], 12), ("sort4", 4, NETWORKS[4], 20)],
)
def test_the_shortest_known_programs_sort_and_none_of_their_instructions_can_go(
    name: str, n: int, program: Program, length: int
):
    check = execute(name)["check"]
    assert len(program) == length
    check(program, n)
    for place in range(length):
        with pytest.raises(ValueError, match="does not sort"):
            check(program[:place] + program[place + 1 :], n)


def test_the_numbers_shown_are_those_lengths():
    assert load("sort3").settings.known.best == -len(SHORTEST)
    assert load("sort3").settings.known.honesty == -len(SHORTEST)
    assert load("sort4").settings.known.best == load("sort4").settings.known.honesty == -len(NETWORKS[4])


ONLY_DIFFERENT: Program = [
    *SHORTEST[:4],
    *[("cmp", 0, 2), ("cmovl", 3, 0), ("cmovg", 3, 2), ("cmovg", 2, 0)],
    *SHORTEST[8:],
]
"""Sorts all orders of different numbers, but not some with equal ones."""


def test_what_sorts_different_numbers_only_is_refused_for_equal_ones(sort3: dict[str, Any]):
    states = np.array([[*order, 3, 0] for order in itertools.permutations(range(3))], dtype=np.int8)
    for instruction in ONLY_DIFFERENT:
        states = sort3["step"](states, instruction)
    assert states[:, :3].tolist() == [[0, 1, 2]] * 6
    order = sort3["unsorted"](ONLY_DIFFERENT, 3)
    assert len(set(order)) < 3
    with pytest.raises(ValueError, match="does not sort"):
        sort3["check"](ONLY_DIFFERENT, 3)


@pytest.mark.parametrize("instruction", [("swap", 0, 1), ("mov", 0, 4), ("mov", 1, 1), ("cmp", 1, 0), ("mov", -1, 0)])
def test_what_is_no_instruction_is_refused(sort3: dict[str, Any], instruction: tuple[str, int, int]):
    with pytest.raises(ValueError, match="instructions"):
        sort3["check"]([*SHORTEST, instruction], 3)


def test_a_priority_that_weighs_disorder_finds_eleven():
    program = execute("sort3")
    program["priority"] = lambda different, inversions, *_: -different - 2 * inversions
    assert program["evaluate"](3, 32) == -11


def test_no_program_of_ten_sorts_three_and_none_of_three_sorts_two(sort3: dict[str, Any]):
    assert not sort3["can_sort"](*sort3["machines"](3), 10)
    assert sort3["breadth_first"](2, 32) == -4, "a copy, a comparison, and two conditional copies"
    assert not sort3["can_sort"](*sort3["machines"](2), 3)


def test_steps_of_the_search_are_those_of_the_check(sort3: dict[str, Any]):
    orders = list(itertools.permutations(range(3)))
    states = np.array([[*order, 3, 0] for order in orders], dtype=np.int8)
    for instruction in SHORTEST:
        states = sort3["step"](states, instruction)
    assert states[:, :3].tolist() == [[0, 1, 2]] * 6


def test_where_no_program_is_found_the_nearest_one_counts_less_than_the_longest():
    assert -14 <= execute("sort3")["evaluate"](3, 2) < -12
