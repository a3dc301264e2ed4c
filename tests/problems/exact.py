"""Scores of constructions in exact arithmetic, by code that shares nothing with the problems' own scoring.

A construction is what the sandbox returned; here it is numbers only. A float counts as the fraction that it is.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

import numpy as np

Point = tuple[Fraction, Fraction]
Rows = Sequence[Sequence[float]]

_ROOT = 1 << 100
"""Roots are right to one part in so many."""


class Refused(ValueError):
    """What is given is not a construction that the problem asks for."""


@dataclass(frozen=True)
class Recount:
    """How a problem's constructions are had, and counted.

    Attributes:
        construction: Expression of the parameters of the run function, evaluated in the specification.
        score: Score of a construction for an input.
    """

    construction: str
    score: Callable[..., Fraction | float]


def require(is_so: bool, what: str) -> None:
    if not is_so:
        raise Refused(what)


def exactly(rows: Rows) -> list[tuple[Fraction, ...]]:
    return [tuple(map(Fraction, row)) for row in rows]


def needle(bases: Sequence[float], n: int) -> Fraction:
    """Minus the area of the union of the triangles (x, 0), (x + 1/n, 0), (x + i/n, 1).

    Between two heights at which sides cross, the covered length is a linear function of the height.
    """
    require(len(bases) == n, f"{n} triangles")
    # Both sides of each triangle as x at the height 0 and change of x up to the height 1.
    left = [(Fraction(x), Fraction(i, n)) for i, x in enumerate(bases, 1)]
    right = [(x + Fraction(1, n), change - Fraction(1, n)) for x, change in left]
    heights = {Fraction(0), Fraction(1)}
    for (x, change), (other, its_change) in itertools.combinations([*left, *right], 2):
        if change != its_change and 0 < (height := (other - x) / (change - its_change)) < 1:
            heights.add(height)
    ordered = sorted(heights)
    lengths = [_length_at(height, left, right) for height in ordered]
    parts = zip(itertools.pairwise(ordered), itertools.pairwise(lengths), strict=True)
    return -sum(((high - low) * (at_low + at_high) / 2 for (low, high), (at_low, at_high) in parts), Fraction(0))


def _length_at(height: Fraction, left: Sequence[Point], right: Sequence[Point]) -> Fraction:
    """Return the length that the triangles cover at a height, from events in the order of x."""
    events = sorted(
        [(x + change * height, 1) for x, change in left] + [(x + change * height, -1) for x, change in right]
    )
    covered, depth, before = Fraction(0), 0, events[0][0]
    for x, step in events:
        covered += (x - before) * (depth > 0)
        depth, before = depth + step, x
    return covered


def circles(placed: Rows, n: int) -> Fraction:
    """The sum of the radii, which are all multiplied by one factor if circles overlap or leave the square.

    The factor is a lower bound, right to 2^-90.
    """
    exact = exactly(placed)
    require(len(exact) == n, f"{n} circles")
    factors = [Fraction(1)]
    for x, y, r in exact:
        require(min(x, y, 1 - x, 1 - y, r) >= 0, "inside of the square")
        factors += [min(x, y, 1 - x, 1 - y) / r] if r else []
    for (x, y, r), (x2, y2, r2) in itertools.combinations(exact, 2):
        factors += [_root_below((x - x2) ** 2 + (y - y2) ** 2) / (r + r2)] if r + r2 else []
    return min(factors) * sum(r for _, _, r in exact)


def _root_below(value: Fraction) -> Fraction:
    return Fraction(isqrt(value.numerator * _ROOT**2 // value.denominator), _ROOT)


def smallest_triangle(placed: Rows, n: int) -> Fraction:
    """The smallest triangle, in parts of the whole with the corners (0, 0), (1, 0), (0, 1)."""
    points = exactly(placed)
    require(len(points) == n and all(x >= 0 and y >= 0 and x + y <= 1 for x, y in points), f"{n} points inside")
    corners = itertools.combinations(points, 3)
    return min(abs(x1 * (y2 - y3) + x2 * (y3 - y1) + x3 * (y1 - y2)) for (x1, y1), (x2, y2), (x3, y3) in corners)


def distances(placed: Rows, n: int, dimension: int = 2) -> Fraction:
    """Minus the square of the longest distance over that of the shortest."""
    points = exactly(placed)
    require(len(set(points)) == n and all(len(point) == dimension for point in points), f"{n} points")
    pairs = itertools.combinations(points, 2)
    squares = sorted(sum(((x - y) ** 2 for x, y in zip(a, b, strict=True)), Fraction(0)) for a, b in pairs)
    return -squares[-1] / squares[0]


def overlap(heights: Sequence[int], most_steps: int) -> Fraction:
    """Minus the largest overlap of a step function on [0, 2] with the integral 1, and 1 minus itself, shifted."""
    n, total = len(heights), sum(heights)
    require(1 <= n <= most_steps and total > 0 and min(heights) >= 0, "a step function")
    values = [Fraction(n * height, 2 * total) for height in heights]
    require(max(values) <= 1, "at most 1")
    scaled = [n * height for height in heights]  # the values times 2 * total, so that sums are of whole numbers
    most = max(
        sum(scaled[i] * (2 * total - scaled[i + shift]) for i in range(max(0, -shift), min(n, n - shift)))
        for shift in range(-n + 1, n)
    )
    return -Fraction(2, n) * Fraction(most, (2 * total) ** 2)


def autoconvolution(heights: Sequence[int], most_steps: int) -> Fraction:
    """Minus the peak of the convolution of a step function on [-1/4, 1/4] with itself, over its squared integral."""
    n, total = len(heights), sum(heights)
    require(1 <= n <= most_steps and total > 0 and min(heights) >= 0, "a step function")
    sums = Counter[int]()
    for i, j in itertools.product(range(n), repeat=2):
        sums[i + j] += heights[i] * heights[j]
    width = Fraction(1, 2 * n)
    return -width * max(sums.values()) / (width * total) ** 2


def no_isosceles(points: Sequence[Sequence[int]], n: int) -> int:
    distinct = {(x, y) for x, y in points}
    require(len(distinct) == len(points) and all(0 <= v < n for point in distinct for v in point), "of the grid")
    for apex in distinct:
        around = Counter((apex[0] - x) ** 2 + (apex[1] - y) ** 2 for x, y in distinct)
        require(max(around.values()) == 1, f"no two at one distance from {apex}")
    return len(distinct)


def cap_set(vectors: Sequence[Sequence[int]], n: int) -> int:
    """The size; no three vectors add up to 0, as three on a line would."""
    numbers = {tuple(vector) for vector in vectors}
    require(len(numbers) == len(vectors) and all({0, 1, 2}.issuperset(v) and len(v) == n for v in numbers), "vectors")
    for a, b in itertools.combinations(numbers, 2):
        require(tuple(-(x + y) % 3 for x, y in zip(a, b, strict=True)) not in numbers, f"no line through {a} and {b}")
    return len(numbers)


def independent_words(words: Sequence[Sequence[int]], nodes: int, n: int) -> int:
    distinct = {tuple(word) for word in words}
    require(all(len(word) == n and all(0 <= x < nodes for x in word) for word in distinct), "words")
    for a, b in itertools.combinations(distinct, 2):
        far = any((x - y) % nodes not in (0, 1, nodes - 1) for x, y in zip(a, b, strict=True))
        require(far, f"{a} and {b} apart in some place")
    return len(distinct)


def degeneration(found: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]], n: int) -> float:
    """The n-th root of the size: the weights of a point add up to 0, and those of a corner of points to more."""
    chosen, weighed = found
    weights = {(x, y): parts for x, y, *parts in weighed}
    points = {(x, y) for x, y in chosen}
    require(len(points) == len(chosen) and all(sum(weights[point]) == 0 for point in points), "weights of points")
    for x, y in points:
        for d in range(1, 2**n):
            if (x ^ d, y) in points and (x, y ^ d) in points:
                total = weights[x, y][0] + weights[x ^ d, y][1] + weights[x, y ^ d][2]
                require(total > 0, f"a corner at {x, y} by {d}")
    return len(points) ** (1 / n)


def admissible(vectors: Sequence[Sequence[int]], n: int, w: int) -> int:
    """The size; of any three vectors, some place has two zeros and another number, or three different numbers."""
    array = np.array(vectors)
    require(array.shape[1] == n and bool((np.count_nonzero(array, axis=1) == w).all()), f"{w} entries that are not 0")
    is_, bits = {value: (array == value) @ (1 << np.arange(n)) for value in (0, 1, 2)}, (1 << n) - 1
    require(len(set(is_[0].tolist())) == len(array), "different supports")
    is_turned = _is_turned(array)
    for a in range(len(array)):
        # Where turning blocks of three entries maps the set to itself, only one vector of those need come first.
        blocks = [array[a, k : k + 3] for k in range(0, n, 3)]
        if is_turned and any(list(one) > list(np.roll(one, by)) for one in blocks for by in (1, 2)):
            continue
        for b in range(len(array)):
            if a == b:
                continue
            zeros, either = is_[0][a] & is_[0][b], is_[0][a] | is_[0][b]
            one_zero = either & ~zeros
            differ = sum(is_[x][a] & is_[y][b] for x, y in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)))
            third = [int(differ) & ~int(is_[value][a]) & ~int(is_[value][b]) for value in (0, 1, 2)]
            apart = sum(is_[value] & third[value] for value in (0, 1, 2))
            good = apart | (zeros & (bits ^ is_[0])) | (one_zero & is_[0])
            good[[a, b]] = 1
            require(bool(good.all()), f"{vectors[a]} and {vectors[b]} told apart from each third")
    return len(array)


def _is_turned(vectors: np.ndarray) -> bool:
    """Return whether turning any block of three entries of all vectors gives the same set."""
    there = set(map(tuple, vectors.tolist()))
    for k in range(0, vectors.shape[1], 3):
        turned = vectors.copy()
        turned[:, k : k + 3] = np.roll(turned[:, k : k + 3], 1, axis=1)
        if set(map(tuple, turned.tolist())) != there:
            return False
    return True


def multiplications(found: tuple[Sequence[Sequence[int]], int], n: int, enough: int, steps: int) -> Fraction:
    """Minus the products, which add up to the product of two matrices over Z2, and the share of the steps to more."""
    scheme, step = found
    count = Counter[tuple[int, ...]]()
    for a, b, c in scheme:
        entries = [[place for place in range(n * n) if factor >> place & 1] for factor in (a, b, c)]
        count.update(itertools.product(*entries))
    wanted = {(i * n + k, k * n + j, i * n + j) for i, j, k in itertools.product(range(n), repeat=3)}
    require({place for place, times in count.items() if times % 2} == wanted, "the product of two matrices")
    return Fraction(-len(scheme)) - (Fraction(step, steps) if len(scheme) > enough else 0)


def comparators(network: Sequence[Sequence[int]], n: int) -> int:
    """Minus the comparators of a network that sorts each input of 0 and 1."""
    for bits in itertools.product((0, 1), repeat=n):
        lines = list(bits)
        for low, high in network:
            require(0 <= low < high < n, "comparators")
            if lines[low] > lines[high]:
                lines[low], lines[high] = lines[high], lines[low]
        require(lines == sorted(bits), f"{bits} sorted")
    return -len(network)


def kakeya_set(points: Sequence[Sequence[int]], p: int, dimension: int = 3) -> int:
    """Minus the points, among which is a line in each direction."""
    there = {tuple(point) for point in points}
    require(all(len(point) == dimension and all(0 <= x < p for x in point) for point in there), "points")
    for way in itertools.product(range(p), repeat=dimension):
        if any(way):
            multiples = [[k * step for step in way] for k in range(1, p)]
            has_line = any(
                all(tuple((x + y) % p for x, y in zip(one, far, strict=True)) in there for far in multiples)
                for one in there
            )
            require(has_line, f"a line in the direction {way}")
    return -len(there)


def tiles(placed: Sequence[Sequence[int]], n: int) -> int:
    """Minus the rectangles, which leave one square of each row and column free."""
    squares = Counter(
        (row + i, column + j)
        for row, column, height, width in placed
        for i, j in itertools.product(range(height), range(width))
    )
    require(all(times == 1 and 0 <= x < n and 0 <= y < n for (x, y), times in squares.items()), "apart, on the grid")
    free = set(itertools.product(range(n), repeat=2)) - squares.keys()
    require(sorted(x for x, _ in free) == sorted(y for _, y in free) == list(range(n)), "one free a row and column")
    return -len(placed)


def convex_polygons(placed: Rows, k: int) -> int:
    """Minus the k points among them none of which is in a triangle of three others."""
    points = exactly(placed)
    require(len(points) == 2 ** (k - 2) + 1, "points")
    side = {}
    for a, b, c in itertools.permutations(range(len(points)), 3):
        (ax, ay), (bx, by), (cx, cy) = points[a], points[b], points[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        require(area != 0, "no three on a line")
        side[a, b, c] = area > 0

    def is_inside(d: int, a: int, b: int, c: int) -> bool:
        return side[a, b, d] == side[b, c, d] == side[c, a, d]

    hollow = {
        (four := tuple(sorted((d, *others)))): not any(
            is_inside(one, *(two for two in four if two != one)) for one in four
        )
        for d, *others in itertools.combinations(range(len(points)), 4)
    }
    chosen = itertools.combinations(range(len(points)), k)
    return -sum(all(hollow[four] for four in itertools.combinations(each, 4)) for each in chosen)


_WHOLE = "[round(float(value) * UNIT) for value in density(most_steps)]"
_SCALED = (
    "(lambda given: [round(Fraction(float(value)) / Fraction(float(max(given))) * UNIT) for value in given])"
    "(list(density(most_steps)))"
)
_SCHEME = (
    "(lambda found: [[list(map(int, product)) for product in found[0]], found[1]])(search(n, random.Random(seed)))"
)
_DEGENERATION = (
    "(lambda chosen, weights: [[list(point) for point in chosen], [[*point, *weights[point]] for point in weights]])"
    "(*solve(n, weigh))"
)
_PLACED = "[[float(value) for value in one] for one in place({})]"

RECOUNTS = {
    "admissible-set": Recount("[list(one) for family in solve(n, w) for one in turned(family)]", admissible),
    "autocorrelation-inequality": Recount(_SCALED, autoconvolution),
    "cap-set": Recount("solve(n).tolist()", cap_set),
    "circle-packing-26": Recount(_PLACED.format("n"), circles),
    "circle-packing-32": Recount(_PLACED.format("n"), circles),
    "corner-free-set": Recount(_DEGENERATION, degeneration),
    "cyclic-graph": Recount("solve(num_nodes, n).tolist()", independent_words),
    "distance-ratio": Recount(_PLACED.format("n"), distances),
    "erdos-overlap": Recount(_WHOLE, overlap),
    "grid-tiling": Recount("tiles(free_columns(n))", tiles),
    "happy-ending": Recount(_PLACED.format("2 ** (k - 2) + 1"), convex_polygons),
    "heilbronn-triangle": Recount(_PLACED.format("n"), smallest_triangle),
    "kakeya-needle": Recount("[float(value) for value in shifts(n)]", needle),
    "kakeya-set": Recount("[list(one) for one in lines(point, p)]", kakeya_set),
    "matrix-multiplication": Recount(_SCHEME, lambda found, n, seed: multiplications(found, n, 23, 40_000)),
    "matrix-multiplication-4": Recount(_SCHEME, lambda found, n, seed: multiplications(found, n, 49, 5000)),
    "no-isosceles": Recount("[list(one) for one in solve(n)]", no_isosceles),
    "sorting-network": Recount("build(n, priority)", comparators),
}
"""By problem; of others, what a program does has to be simulated, and is no construction."""
