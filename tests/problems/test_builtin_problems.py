"""The built-in problems: they load, score their start program, refuse near misses, and never change their inputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.schemas.errors import UsageError
from overnight.schemas.scores import reduce_scores
from overnight.tasks.problems import find, names
from overnight.tasks.program.specification import Specification
from tests.problems.library import execute, load, score

Vector = tuple[int, ...]
NAMES = names()
PACKINGS = ["bin-packing-or", "bin-packing-weibull"]
SET_BY_OPTIMIZERS = [
    *("autocorrelation-inequality", "circle-packing-26", "circle-packing-32", "distance-ratio", "erdos-overlap"),
    "heilbronn-triangle",
]
"""Problems whose records were set with numerical optimizers, so that programs may use those of scipy."""


# All of them


def test_there_are_problems_and_each_is_found_by_its_name():
    assert {*PACKINGS, "cap-set"} <= set(NAMES)
    assert sorted(NAMES) == NAMES
    for name in NAMES:
        assert find(name).is_file()


def test_a_file_is_found_by_its_path_and_a_wrong_name_is_refused_with_the_likely_one(tmp_path: Path):
    mine = tmp_path / "mine.py"
    mine.touch()
    (tmp_path / "tour").mkdir()
    assert find(str(mine)) == mine
    for typed, meant in (("mine", mine), ("mien.py", mine), ("mine2", mine), ("tours", tmp_path / "tour")):
        with pytest.raises(UsageError) as caught:
            find(str(tmp_path / typed))
        assert f"Did you mean {meant}?" in caught.value.remedy
    with pytest.raises(UsageError) as caught:
        find("capset")
    assert "Did you mean cap-set?" in caught.value.remedy
    for hidden in ("--init--", "__init__", "cap_set.pyc"):
        with pytest.raises(UsageError):
            find(hidden)


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_is_described(name: str):
    problem = load(name)
    assert problem.name == name
    assert problem.settings.title
    assert problem.settings.score_name != "score"
    assert problem.specification.start_body
    assert problem.dependencies.packages == (("numpy", "scipy") if name in SET_BY_OPTIMIZERS else ("numpy",))
    known = problem.settings.known
    assert known.best is not None
    assert known.label
    assert known.source
    assert known.date


@pytest.mark.parametrize("name", NAMES)
def test_the_program_with_the_start_body_is_the_file(name: str):
    specification = load(name).specification
    assert isinstance(specification, Specification)
    assert specification.keeps_start_program


@pytest.mark.parametrize("name", NAMES)
def test_no_input_is_used_twice_whether_to_search_to_choose_or_to_score(name: str):
    splits = [[repr(call) for call in calls] for calls in load(name).inputs.values()]
    every = [call for split in splits for call in split]
    assert len(set(every)) == len(every)
    assert splits[0]


PINNED = {
    ("bin-packing-or", "train"): -5.2837478870,
    ("bin-packing-or", "validation"): -4.9910179075,
    ("bin-packing-or", "held_out"): -4.9888487973,
    ("bin-packing-weibull", "train"): -3.9512922465,
    ("bin-packing-weibull", "validation"): -4.1605513465,
    ("bin-packing-weibull", "held_out"): -4.1899385087,
    ("cap-set", "train"): 256,
    ("admissible-set", "train"): 1842,
    ("cyclic-graph", "train"): 625,
    ("corner-free-set", "train"): 2,
    ("corner-free-set", "validation"): 2,
    ("corner-free-set", "held_out"): 2,
    ("sorting-network", "train"): -116 / 6,
    ("circle-packing-26", "train"): 26 / 12,
    ("circle-packing-32", "train"): 32 / 12,
    ("erdos-overlap", "train"): -0.5,
    ("autocorrelation-inequality", "train"): -2,
    ("heilbronn-triangle", "train"): 0.0030052592036063,
    ("distance-ratio", "train"): -18,
    ("happy-ending", "train"): -906,
    ("kakeya-needle", "train"): -0.197265625,
    ("kakeya-set", "train"): -1799 / 3,
    ("no-isosceles", "train"): 74,
    ("grid-tiling", "train"): -94 / 3,
    ("sort3", "train"): -13 - 1 / 6,
    ("sort4", "train"): -25 - 23 / 24,
    ("matrix-multiplication", "train"): -24.1631625,
    ("matrix-multiplication-4", "train"): -51.6372,
    ("automl-zero", "train"): 0.7267710396,
    ("optimizer-rule", "train"): -0.3758500681,
    ("checkpointing", "train"): -411,
    ("flash-cache", "train"): 29.75,
    ("flash-cache", "validation"): 88 / 3,
    ("flash-cache", "held_out"): 29.2222222222,
}
"""Mean scores of start programs, which never change."""

LONG = {"matrix-multiplication"}
"""Problems whose start program computes for long; that of `matrix-multiplication-4` is the same."""


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(pytest.param(name, "train", marks=pytest.mark.slow if name in LONG else ()) for name in NAMES),
        *(one for one in PINNED if one[1] != "train"),
    ],
)
def test_the_start_program_scores_what_is_pinned_and_declared_and_less_than_the_best_known(name: str, split: str):
    found, known = score(name, split), load(name).settings.known
    assert all(isinstance(one, int | float) and np.isfinite(one) for one in found)
    if (name, split) in PINNED:
        assert reduce_scores(found, "mean") == pytest.approx(PINNED[name, split], abs=1e-9)
    if split == "train":
        start = reduce_scores(found, load(name).settings.reducer)
        assert start == pytest.approx(known.start, rel=1e-5)
        assert known.best is not None
        assert start <= (known.best if known.honesty is None else known.honesty) <= known.best


# Bin packing


@pytest.mark.parametrize(
    ("name", "seed", "items"),
    [
        ("bin-packing-or", 1, [30, 88, 81, 40, 60]),
        ("bin-packing-or", 101, [67, 35, 98, 94, 57]),
        ("bin-packing-or", 201, [25, 46, 20, 42, 80]),
        ("bin-packing-weibull", 1, [24, 56, 51, 30, 40]),
        ("bin-packing-weibull", 101, [43, 27, 67, 62, 39]),
        ("bin-packing-weibull", 201, [18, 33, 7, 31, 50]),
    ],
)
def test_the_items_of_a_seed_never_change(name: str, seed: int, items: list[int]):
    draw = execute(name)["draw_items"]
    assert draw(5, seed) == items
    assert draw(500, seed)[:5] == items


@pytest.mark.parametrize(("name", "lowest", "highest"), [("bin-packing-or", 20, 100), ("bin-packing-weibull", 1, 100)])
def test_items_are_whole_sizes_of_their_range(name: str, lowest: int, highest: int):
    items = execute(name)["draw_items"](20_000, 7)
    assert all(type(item) is int for item in items)
    assert lowest <= min(items) < lowest + 5
    assert highest - 5 < max(items) <= highest
    if name == "bin-packing-weibull":
        assert np.mean(items) == pytest.approx(45 * 0.8930, abs=0.5)  # scale times Γ(1 + 1/3)
    else:
        assert np.mean(items) == pytest.approx(60, abs=0.5)


@pytest.mark.parametrize("name", PACKINGS)
def test_a_full_bin_is_accepted_and_one_that_is_overfull_by_one_is_refused(name: str):
    program = execute(name)
    count_bins, capacity = program["count_bins"], program["CAPACITY"]
    assert count_bins([capacity, capacity - 1, 1], [0, 1, 1]) == 2
    assert count_bins([30, 30], [7, 3]) == 2
    with pytest.raises(ValueError, match="overfull"):
        count_bins([capacity, 1], [0, 0])
    with pytest.raises(ValueError, match="overfull"):
        count_bins([capacity - 1, 1, 1], [4, 4, 4])


@pytest.mark.parametrize("name", PACKINGS)
@pytest.mark.parametrize("choices", [[], [0], [0, 1, 2]])
def test_an_item_without_a_bin_or_a_bin_without_an_item_is_refused(name: str, choices: list[int]):
    with pytest.raises(ValueError, match="argument"):
        execute(name)["count_bins"]([20, 20], choices)


@pytest.mark.parametrize("name", PACKINGS)
@pytest.mark.parametrize(
    "priority",
    [lambda item, bins: 1.0, lambda item, bins: bins[:-1], lambda item, bins: bins[:, None]],
    ids=["one number", "one too few", "two dimensions"],
)
def test_priorities_that_are_not_one_for_each_bin_are_refused(name: str, priority: Any):
    with pytest.raises(ValueError, match="one number for each"):
        score(name, priority=priority)


@pytest.mark.parametrize("name", PACKINGS)
def test_a_rule_sees_only_bins_that_fit_and_cannot_change_them(name: str):
    seen = []

    def priority(item: float, bins: np.ndarray) -> np.ndarray:
        seen.append(bool(np.all(bins >= item)))
        result = -(bins - item)
        bins[:] = 1e9
        return result

    assert score(name, priority=priority) == score(name)
    assert all(seen)


@pytest.mark.parametrize("name", PACKINGS)
def test_wasting_bins_is_worse_than_best_fit_and_no_rule_beats_the_lower_bound(name: str):
    wasteful = score(name, priority=lambda item, bins: bins)
    first_fit = score(name, priority=lambda item, bins: -np.arange(len(bins)))
    best_fit = score(name)
    for one, other, best in zip(wasteful, first_fit, best_fit, strict=True):
        assert one < other <= best + 1.0
        assert one < best <= 0


# Cap sets


def has_line(vectors: list[Vector]) -> bool:
    """By definition: some three distinct vectors add up to 0 (mod 3) in every entry."""
    return any(
        all(sum(entries) % 3 == 0 for entries in zip(*three, strict=True))
        for three in itertools.combinations(vectors, 3)
    )


def find_cap(n: int, pairs: int) -> list[Vector]:
    """A cap set of `pairs` vectors and their opposites, by backtracking."""
    zero = (0,) * n
    halves = [v for v in itertools.product((0, 1, 2), repeat=n) if v > zero and v < opposite(v)]

    def extend(cap: list[Vector], start: int) -> Iterator[list[Vector]]:
        if len(cap) == 2 * pairs:
            yield cap
        for place in range(start, len(halves)):
            wider = [*cap, halves[place], opposite(halves[place])]
            taken = set(wider)
            if not any(third(a, b) in taken for a, b in itertools.combinations(wider, 2)):
                yield from extend(wider, place + 1)

    return next(extend([], 0))


def opposite(vector: Vector) -> Vector:
    return tuple(-entry % 3 for entry in vector)


def third(a: Vector, b: Vector) -> Vector:
    return tuple((-x - y) % 3 for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def cap_of_20() -> list[Vector]:
    cap = find_cap(4, 10)
    assert len(set(cap)) == 20
    assert not has_line(cap)
    return cap


@pytest.fixture(scope="module")
def check() -> Any:
    function = execute("cap-set")["check"]
    return lambda vectors, n: function(np.array(vectors, dtype=np.int64).reshape(len(vectors), -1), n)


def test_the_largest_cap_set_of_dimension_4_is_accepted_and_no_vector_more(check: Any, cap_of_20: list[Vector]):
    check(cap_of_20, 4)
    for vector in itertools.product((0, 1, 2), repeat=4):
        if vector not in cap_of_20:
            with pytest.raises(ValueError, match="line"):
                check([*cap_of_20, vector], 4)


def test_a_priority_that_knows_the_largest_cap_set_finds_it(cap_of_20: list[Vector]):
    program = execute("cap-set")
    program["priority"] = lambda el, n: float(el in cap_of_20)
    assert program["evaluate"](4) == 20
    assert sorted(map(tuple, program["solve"](4).tolist())) == sorted(cap_of_20)


@pytest.mark.parametrize(("n", "size"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32)])
def test_without_any_preference_the_greedy_set_has_2_to_the_n_vectors(n: int, size: int):
    assert execute("cap-set")["evaluate"](n) == size


@pytest.mark.parametrize(
    ("vectors", "n"),
    [
        ([(0, 0), (0, 1), (0, 0)], 2),
        ([(0, 1), (1, 3)], 2),
        ([(0, 1), (1, -1)], 2),
        ([(0, 1, 0), (1, 1, 0)], 2),
        ([(0,), (1,)], 2),
    ],
    ids=["a vector twice", "a 3", "a -1", "too long", "too short"],
)
def test_what_is_no_set_of_vectors_of_the_space_is_refused(check: Any, vectors: list[Vector], n: int):
    with pytest.raises(ValueError, match="not a set of vectors"):
        check(vectors, n)


def test_a_line_is_refused_whichever_way_it_runs(check: Any):
    space = list(itertools.product((0, 1, 2), repeat=3))
    lines = {frozenset((a, b, third(a, b))) for a, b in itertools.combinations(space, 2)}
    assert len(lines) == 117
    for line in lines:
        with pytest.raises(ValueError, match="line"):
            check(sorted(line), 3)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=9))
def test_the_check_is_the_definition(check: Any, vectors: set[Vector]):
    if has_line(list(vectors)):
        with pytest.raises(ValueError, match="line"):
            check(list(vectors), 3)
    else:
        check(list(vectors), 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_any_priority_leads_to_a_cap_set_to_which_nothing_can_be_added(seed: int, n: int):
    random = np.random.default_rng(seed)
    program = execute("cap-set")
    program["priority"] = lambda el, n: random.choice([-np.inf, 0.0, random.normal(), np.inf])
    cap = [tuple(vector) for vector in program["solve"](n).tolist()]
    program["check"](np.array(cap), n)
    blocked = {third(a, b) for a, b in itertools.combinations(cap, 2)}
    assert set(itertools.product((0, 1, 2), repeat=n)) == set(cap) | blocked


# Whole constructions


def test_points_that_cannot_be_taken_are_skipped_and_a_whole_construction_is_taken_as_it_is():
    points = [(0, 0), (0, 1), (3, 0), (63, 63)]
    assert score("no-isosceles", order=lambda n: points) == [4]
    more = [*points, *points, (0, 2)]
    assert score("no-isosceles", order=lambda n: more) == [4], "(0, 1) is in the middle of (0, 0) and (0, 2)"


@pytest.mark.parametrize("points", [[(0, 64)], [(-1, 0)], [(0.5, 1)], [(0, 0)] * 4097, [(0, 0, 0)], None])
def test_points_outside_of_the_grid_are_refused(points: Any):
    with pytest.raises((ValueError, TypeError)):
        score("no-isosceles", order=lambda n: points)


@pytest.mark.parametrize("name", ["kakeya-needle", "no-isosceles"])
def test_what_returns_a_whole_construction_is_called_once(name: str):
    calls = list[int]()
    program = execute(name)
    specification = load(name).specification
    assert isinstance(specification, Specification)
    (function,) = specification.evolved
    assert score(name, **{function: lambda n: calls.append(n) or program[function](n)}) == score(name)
    assert len(calls) == 1
