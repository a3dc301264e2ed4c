"""Verifiers of published constructions: each scores what was published, and is not fooled.

Without clones of the notebooks (`README.md`), each verifier scores its start program as declared, and refuses or does
not reward answers that are wrong, of the wrong form, or that lie about themselves.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from overnight.schemas.scores import reduce_scores
from tests.problems.library import execute, load, score
from tests.problems.published import CLONES, CONSTRUCTIONS, NOT_IN_LIBRARY, Construction, path_of

REFUSED = (ValueError, TypeError, OverflowError)
Program = dict[str, Any]

BUILT_IN: dict[str, Callable[[Program], tuple[Any, ...]]] = {
    "autocorrelation-inequality": lambda program: (program["density"](200), 200),
    "circle-packing-26": lambda program: (program["place"](26), 26),
    "circle-packing-32": lambda program: (program["place"](32), 32),
    "distance-ratio": lambda program: (program["place"](16), 16),
    "erdos-overlap": lambda program: (program["density"](200), 200),
    "grid-tiling": lambda program: (program["tiles"](list(range(9))), 9),
    "happy-ending": lambda program: (program["place"](9), 5),
    "heilbronn-triangle": lambda program: (program["place"](11), 11),
    "kakeya-needle": lambda program: (program["shifts"](8), 8),
    "kakeya-set": lambda program: (sorted(program["lines"](program["point"], 3)), 3),
    "no-isosceles": lambda program: (program["solve"](8), 8),
}
"""The answer that leads to a score, and the other arguments of `value_of`."""

PROBLEMS = [*NOT_IN_LIBRARY, *BUILT_IN]


def case_of(problem: str) -> tuple[Callable[[Any], float], Any]:
    """The function that scores an answer, and the answer of the start program."""
    program = execute(path_of(problem))
    if problem in BUILT_IN:
        answer, *arguments = BUILT_IN[problem](program)
    else:
        arguments = list(load(path_of(problem)).inputs["train"][0].args)
        answer = program["construct"](*arguments)
    return lambda value: program["value_of"](value, *arguments), answer


def test_there_are_enough_of_them():
    assert len(PROBLEMS) >= 30
    # For the tiles, programs were published and no tiles.
    assert set(PROBLEMS) - {"grid-tiling"} == {construction.problem for construction in CONSTRUCTIONS}


@pytest.mark.parametrize("problem", NOT_IN_LIBRARY)
def test_the_start_program_scores_what_its_file_declares(problem: str):
    settings = load(path_of(problem)).settings
    assert reduce_scores(score(path_of(problem)), settings.reducer) == pytest.approx(settings.known.start, rel=1e-6)


# With clones


def name_of(construction: Construction) -> str:
    return " ".join(map(str, (construction.problem, *construction.arguments)))


@pytest.fixture(params=CONSTRUCTIONS, ids=name_of)
def construction(request: pytest.FixtureRequest) -> Construction:
    if not CLONES:
        pytest.skip("OVERNIGHT_CONSTRUCTIONS names no clones of the published notebooks")
    return request.param


def test_a_published_construction_scores_what_was_published_and_one_that_is_moved_scores_less(
    construction: Construction,
):
    value_of, answer = execute(path_of(construction.problem))["value_of"], construction.read()
    found = value_of(answer, *construction.arguments)
    assert found == pytest.approx(float(construction.score), rel=0, abs=construction.within)
    for seed in range(3):
        moved = each_moved(answer, random.Random(seed))
        assert not at_least(found, value_of, moved, *construction.arguments)


def each_moved(answer: Any, draw: random.Random) -> Any:
    """Every number a little larger or smaller."""
    if isinstance(answer, list | tuple):
        return [each_moved(one, draw) for one in answer]
    if isinstance(answer, int):
        return answer + draw.choice((-1, 1)) * max(1, abs(answer) // 1000)
    return answer + draw.gauss(0, 1e-3) * max(abs(answer), 0.1)


def at_least(least: float, value_of: Callable[..., float], *arguments: Any) -> bool:
    """Whether an answer scores so much; one that is refused does not."""
    try:
        return value_of(*arguments) >= least
    except REFUSED:
        return False


# Without clones


ONE_HEXAGON = [
    *[(-136561, -153676), (-91405, 106841), (21918, 27177), (23673, 26992), (30388, 45176), (30703, 45299)],
    *[(32281, 41625), (32776, 41616), (32878, 41621), (35279, 48276), (51997, 14797), (52867, 15667)],
    *[(53793, 15876), (70378, -69764), (83867, 19524), (101811, 138903), (139069, -218276)],
]
"""Found by steps that made it no worse, in a minute."""


def test_the_bound_of_one_hexagon_is_reached_and_counted_as_by_definition():
    program = execute("happy-ending")
    assert program["value_of"](ONE_HEXAGON, 6) == -1
    draw = random.Random(1)
    for _ in range(10):
        points = sorted((draw.randrange(1000), draw.randrange(1000)) for _ in range(9))
        convex = sum(is_convex(five, program["turn"]) for five in itertools.combinations(points, 5))
        assert program["value_of"](points, 5) == -convex


def is_convex(corners: tuple[tuple[int, int], ...], turn: Callable[..., int]) -> bool:
    """By definition: no corner is in a triangle of others."""
    for corner in corners:
        for a, b, c in itertools.combinations([other for other in corners if other != corner], 3):
            if turn(a, b, corner) == turn(b, c, corner) == turn(c, a, corner):
                return False
    return True


class Boastful(float):
    """A number that says yes to every comparison."""

    __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: True  # type: ignore[assignment]

    def __abs__(self) -> float:
        return 0.0


class TwoFaced(list[Any]):
    """A list that shows what it holds once, then nothing, and says that it is longer."""

    shown = 0

    def __iter__(self) -> Iterator[Any]:
        self.shown += 1
        return super().__iter__() if self.shown == 1 else iter(())

    def __len__(self) -> int:
        return 10**6


def with_last(answer: Any, new: Callable[[Any], Any]) -> Any:
    """The answer with its last number replaced."""
    if hasattr(answer, "tolist"):
        return with_last(answer.tolist(), new)
    if isinstance(answer, list | tuple):
        return [*answer[:-1], with_last(answer[-1], new)]
    return new(answer)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_no_number_is_refused(problem: str):
    value_of, answer = case_of(problem)
    for wrong in (math.nan, math.inf, -math.inf, 10**400, -(10**400), "one", None, [], {}):
        changed = with_last(answer, lambda _, wrong=wrong: wrong)
        assert not at_least(-math.inf, value_of, changed), f"an answer with {wrong!r} has a score"


@pytest.mark.parametrize("problem", PROBLEMS)
def test_an_answer_that_lies_about_itself_or_has_another_shape_gains_nothing(problem: str):
    value_of, answer = case_of(problem)
    more = value_of(answer) + 1e-12
    numbers = [str, Boastful, lambda value: -value if value == 0 else value]
    others = [None, 7, "7", [], {}, [[]], [answer], answer[:1], [*answer, answer[-1]], TwoFaced(answer)]
    for other in (*others, *(with_last(answer, change) for change in numbers)):
        assert not at_least(more, value_of, other), f"{other!r} scores more than {answer!r}"


NEARLY: dict[str, Callable[[Any], Any]] = {
    "autocorrelation-inequality": lambda values: [-0.1, *values[1:]],
    "autocorrelation_second": lambda values: [-1.0, *values[1:]],
    "autocorrelation_third": lambda values: [1.0, -1.0] * 200,
    "circle-packing-26": lambda circles: [(0.0, 0.0, -0.5), *circles[1:]],
    "circle-packing-32": lambda circles: [(0.0, 0.0, -0.5), *circles[1:]],
    "circles_in_rectangle": lambda circles: [(0.0, 0.0, -0.5), *circles[1:]],
    "cube_packing": lambda cubes: [cubes[1], *cubes[1:]],
    "difference_basis": lambda numbers: [0, 2, 4],
    "distance-ratio": lambda points: [points[1], *points[1:]],
    "edges_and_triangles": lambda rows: [[0.0] * 20],
    "equidistant_vertices": lambda points: [points[7 * i % 20] for i in range(20)],
    "erdos-overlap": lambda values: [1.0, *[0.0] * 9],
    "flat_polynomial": lambda signs: [0, *signs[1:]],
    "grid-tiling": lambda tiles: [*tiles, (0, 0, 1, 1)],
    "happy-ending": lambda points: [(i, 0.3 * i) for i in range(9)],
    "heilbronn-triangle": lambda points: [(0.5, 0.5 + 2**-52), *points[1:]],
    "heilbronn_convex": lambda points: points[1:],
    "hexagon_packing": lambda hexagons: [hexagons[1], *hexagons[1:]],
    "kakeya-needle": lambda shifts: [1e4, *shifts[1:]],
    "kakeya-set": lambda points: points[:13],
    "kissing_cylinders": lambda axes: [axes[1], *axes[1:]],
    "kissing_number": lambda vectors: [*vectors, [10**9] * 2 + [0] * 9],
    "more_differences_than_sums": lambda numbers: [1, 2, 4],
    "no-isosceles": lambda points: [(0, 0), (1, 1), (2, 2)],
    "no_five_on_a_sphere": lambda points: [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 1)],
    "ring_loading": lambda pairs: [(0.5, 0.5 + 2**-53), *pairs[1:]],
    "spherical_design": lambda vectors: [(0.0, 0.0, 0.0), *vectors[1:]],
    "sums_against_differences": lambda numbers: [5, 5],
    "tammes": lambda vectors: [(0.0, 0.0, 0.0), *vectors[1:]],
    "tensor_decomposition": lambda factors: [-factors[0], *factors[1:]],
    "thomson": lambda vectors: [vectors[1], *vectors[1:]],
    "uncertainty_inequality": lambda coefficients: [0.0, 0.0, 0.0],
}
"""What is nearly a construction, or one of something else."""


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_nearly_a_construction_is_refused(problem: str):
    value_of, answer = case_of(problem)
    with pytest.raises(ValueError, match=r"\w"):
        value_of(NEARLY[problem](answer))
