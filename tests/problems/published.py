"""Published constructions: what each scores, and where it is in the notebooks of AlphaEvolve's authors.

The notebooks are not part of this repository. `OVERNIGHT_CONSTRUCTIONS` names clones of theirs (`README.md`).
"""

from __future__ import annotations

import ast
import functools
import json
import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

CLONES = [path for path in os.environ.get("OVERNIGHT_CONSTRUCTIONS", "").split(os.pathsep) if path]
VERIFIERS = Path(__file__).parent / "verifiers"
NOT_IN_LIBRARY = sorted(path.stem for path in VERIFIERS.glob("*.py"))

RESULTS = "4226acb", "mathematical_results.ipynb"
"""The commit of github.com/google-deepmind/alphaevolve_results, and the notebook."""


def at_scale(name: str, folder: str = "") -> tuple[str, str]:
    """The commit of github.com/google-deepmind/alphaevolve_repository_of_problems, and a notebook."""
    return "81f828f", f"experiments/{folder or name}/{name}.ipynb"


@dataclass(frozen=True)
class Construction:
    """A published construction.

    Attributes:
        problem: A built-in problem's name, or that of a file in `verifiers/`.
        arguments: Of `value_of`, after the construction.
        score: As published, higher being better; right to its last digit.
        notebook: The commit and the path.
        cell: The notebook's cell, counted from 0.
        names: Variables of the cell, and a key if the variable is a dictionary.
        answer: What makes a program's answer of the variables' values.
    """

    problem: str
    arguments: tuple[Any, ...]
    score: str
    notebook: tuple[str, str]
    cell: int
    names: tuple[str | int, ...]
    answer: Callable[..., Any] = lambda value: value

    @property
    def within(self) -> float:
        """How far from the published score ours may be: one unit of the last digit, nothing for whole numbers."""
        exponent = Decimal(self.score).as_tuple().exponent
        assert isinstance(exponent, int)
        return 10.0**exponent if exponent < 0 else 0.0

    def read(self) -> Any:
        """The answer that a program would have returned."""
        found = variables(*self.notebook, self.cell)
        names = [name for name in self.names if isinstance(name, str)]
        values = [plain(found[name]) for name in names]
        keys = [name for name in self.names if isinstance(name, int)]
        return self.answer(*(functools.reduce(lambda value, key: value[key], keys, value) for value in values))


def path_of(problem: str) -> str:
    """What `find` takes: the name of a built-in problem, or the path of a verifier."""
    return str(VERIFIERS / f"{problem}.py") if problem in NOT_IN_LIBRARY else problem


@functools.cache
def variables(commit: str, path: str, cell: int) -> dict[str, ast.expr]:
    """What is assigned to variables in a cell, unevaluated; of several values of a variable, the first."""
    for clone in CLONES:
        done = subprocess.run(["git", "-C", clone, "show", f"{commit}:{path}"], capture_output=True, check=False)
        if done.returncode == 0:
            source = "".join(json.loads(done.stdout)["cells"][cell]["source"])
            assignments = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign)]
            return {
                node.targets[0].id: node.value for node in assignments[::-1] if isinstance(node.targets[0], ast.Name)
            }
    raise FileNotFoundError(f"no clone in OVERNIGHT_CONSTRUCTIONS has {path} at {commit}")


class _WithoutCalls(ast.NodeTransformer):
    """Replace `np.array(values)` and `np.float64(value)` by their first argument."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return self.visit(node.args[0])


def plain(expression: ast.expr) -> Any:
    """The value of numbers, lists, tuples and dictionaries. Nothing of a notebook is executed."""
    return ast.literal_eval(_WithoutCalls().visit(expression))


# What makes answers of the published values


def with_radii(centres: list[list[float]], radii: list[float]) -> list[tuple[float, ...]]:
    return [(*centre, radius) for centre, radius in zip(centres, radii, strict=True)]


def with_outer_hexagon(hexagons: list[list[float]], centre: list[float], angle: float) -> list[list[float]]:
    return [*hexagons, [*centre, angle]]


def from_equal_sides(points: list[list[float]]) -> list[tuple[float, float]]:
    """From the triangle with equal sides to (0, 0), (1, 0), (0, 1), a hair towards the middle."""
    moved = [(x - y / math.sqrt(3), 2 * y / math.sqrt(3)) for x, y in points]
    return [(1e-9 / 3 + (1 - 1e-9) * x, 1e-9 / 3 + (1 - 1e-9) * y) for x, y in moved]


def mirrored(values: list[float]) -> list[float]:
    """The middle one is there once."""
    return [*values[:-1], *values[::-1]]


def combined(outer: list[int], inner: list[int]) -> list[int]:
    return [outer_value * (89**2 + 89 + 1) + value for outer_value in outer for value in inner]


def scaled_to_one(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Pairs whose sums are above 1 by rounding are made smaller."""
    return [(u / max(1, u + v) * (1 - 1e-15), v / max(1, u + v) * (1 - 1e-15)) for u, v in pairs]


TENSORS = [
    *[(2, 4, 5, 32, 6), (2, 4, 7, 45, 9), (2, 4, 8, 51, 12), (2, 5, 6, 47, 15), (3, 3, 3, 23, 18), (3, 4, 6, 54, 21)],
    *[(3, 4, 7, 63, 24), (3, 4, 8, 74, 27), (3, 5, 6, 68, 30), (3, 5, 7, 80, 33), (4, 4, 4, 48, 36), (4, 4, 5, 61, 41)],
    *[(4, 4, 7, 85, 44), (4, 5, 6, 90, 47), (5, 5, 5, 93, 50)],
]
"""n, m and p, the rank, and the cell."""

HEXAGONS = ("inner_hex_data", "outer_hex_center", "outer_hex_angle_degrees")
DIFFERENCES, EDGES = at_scale("difference_bases"), at_scale("edges_vs_triangles")
FIELDS, POLYNOMIALS = at_scale("finite_field_kakeya", "finite_field_kakeya_problem"), at_scale("flat_polynomials")
POLYGONS = at_scale("happy_ending_problem", "erdos_szekeres_happy_ending_problem")
ISOSCELES = at_scale("no_isosceles_triangles", "subsets_of_the_grid_with_no_isosceles_triangles")
SPHERES, NEEDLE, SUMS = (
    at_scale("no_5_on_a_sphere"),
    at_scale("kakeya_needle_2d"),
    at_scale("sums_differences_problems"),
)
TAMMES, THOMSON, RINGS = at_scale("tammes_problem"), at_scale("thomson_problem"), at_scale("ring_loading_problem")
CUBES, CYLINDERS, DESIGNS = (
    at_scale("packing_unit_cubes"),
    at_scale("kissing_cylinders"),
    at_scale("spherical_t_designs"),
)
EQUIDISTANT = at_scale("Equidistant_points_in_convex_polygons", "equidistant_points_in_convex_polygons")
CIRCLES = at_scale("packing_circle_max_sum_of_radii", "packing_circles_max_sum_of_radii")

CONSTRUCTIONS = (
    *(
        Construction("tensor_decomposition", (n, m, p), f"-{rank}", RESULTS, cell, (f"decomposition_{n}{m}{p}",))
        for n, m, p, rank, cell in TENSORS
    ),
    Construction("autocorrelation-inequality", (600,), "-1.5053", RESULTS, 53, ("step_function_heights_1",)),
    Construction("autocorrelation_second", (50,), "0.8962", RESULTS, 57, ("heights_sequence_2",)),
    Construction("autocorrelation_third", (400, False), "-1.4557", RESULTS, 61, ("height_sequence_3",)),
    Construction("autocorrelation_third", (400, True), "-1.4688", RESULTS, 65, ("height_sequence_4",)),
    Construction("uncertainty_inequality", (3,), "-0.3521", RESULTS, 68, ("coefficients_alphaevolve",)),
    Construction("erdos-overlap", (200,), "-0.380924", RESULTS, 78, ("best_sequence",), mirrored),
    Construction("more_differences_than_sums", (2048,), "1.1479", RESULTS, 81, ("solution_1",)),
    Construction("hexagon_packing", (11,), "-3.931", RESULTS, 88, HEXAGONS, with_outer_hexagon),
    Construction("hexagon_packing", (12,), "-3.942", RESULTS, 90, HEXAGONS, with_outer_hexagon),
    Construction("distance-ratio", (16, 2), "-12.889266112", RESULTS, 93, ("construction_1",)),
    Construction("distance-ratio", (14, 3), "-4.165849767", RESULTS, 96, ("construction_2",)),
    Construction("heilbronn-triangle", (11,), "0.0365", RESULTS, 100, ("found_points",), from_equal_sides),
    Construction("heilbronn_convex", (13,), "0.0309", RESULTS, 106, ("construction_1",)),
    Construction("heilbronn_convex", (14,), "0.0278", RESULTS, 109, ("construction_2",)),
    Construction("kissing_number", (11,), "593", RESULTS, 113, ("sphere_centers",)),
    Construction("circle-packing-26", (26,), "2.635", RESULTS, 118, ("construction_1",)),
    Construction("circle-packing-32", (32,), "2.937", RESULTS, 121, ("construction_2",)),
    Construction("circles_in_rectangle", (21,), "2.365", RESULTS, 125, ("circles",)),
    Construction("circle-packing-26", (26,), "2.635", CIRCLES, 3, ("centers_26", "radii_26"), with_radii),
    Construction("circle-packing-32", (32,), "2.9396", CIRCLES, 6, ("centers_32", "radii_32"), with_radii),
    Construction("circles_in_rectangle", (21,), "2.365", CIRCLES, 13, ("centers_21", "radii_21"), with_radii),
    Construction("difference_basis", (1000,), "-2.6390", DIFFERENCES, 1, ("A", "B"), combined),
    # No score is printed for these rows: it is what the authors' code returns for them.
    Construction("edges_and_triangles", (20,), "-0.7125", EDGES, 2, ("best_solutions",)),
    *(
        Construction("kakeya-set", (p, d), size, FIELDS, cell, (f"best_construction_p{p}_d{d}_iqhd",))
        for p, d, size, cell in [(3, 3, "-15", 2), (5, 3, "-53", 2), (7, 3, "-128", 2), (3, 4, "-31", 9)]
    ),
    *(
        Construction("flat_polynomial", (n,), score, POLYNOMIALS, 4, ("c_plus_results", n, 1))
        for n, score in [(25, "-1.26416"), (47, "-1.30708"), (62, "-1.38309")]
    ),
    Construction("happy-ending", (7,), "-1", POLYGONS, 1, ("points_7",)),
    Construction("no-isosceles", (64,), "112", ISOSCELES, 1, ("sol_64",)),
    Construction("no-isosceles", (100,), "164", ISOSCELES, 1, ("sol_100",)),
    *(
        Construction("no_five_on_a_sphere", (n,), str(size), SPHERES, 1, (f"construction_n_{n}_{n}_{n}",))
        for n, size in [(7, 21), (8, 23), (9, 26), (10, 28), (11, 31), (12, 33)]
    ),
    # Proven for 3, 7 and 12 points.
    *(
        Construction("tammes", (n,), score, TAMMES, 4, ("tammes_results", n))
        for n, score in [(3, "1.7320508"), (7, "1.2568704"), (12, "1.0514622"), (32, "0.6425"), (50, "0.5135")]
    ),
    *(
        Construction("thomson", (n,), score, THOMSON, 5, ("thomson_results", n))
        for n, score in [(282, "-37147.294418"), (292, "-39877.008013"), (306, "-43862.569781")]
    ),
    Construction("ring_loading", (15,), "1.119", RINGS, 1, ("solution",), scaled_to_one),
    Construction("cube_packing", (11,), "-2.894531", CUBES, 1, ("placements_no_intersection",)),
    *(
        Construction("kakeya-needle", (n,), score, NEEDLE, 10, (f"suggested_positions_{n}",))
        for n, score in [(16, "-0.16272"), (32, "-0.14165"), (64, "-0.12174")]
    ),
    Construction("kissing_cylinders", (7,), "0e-20", CYLINDERS, 1, ("cylinder_config_c_7",)),
    Construction("spherical_design", (15, 120), "0e-8", DESIGNS, 2, ("spherical_design_215120",)),
    Construction("spherical_design", (21, 238), "0e-8", DESIGNS, 2, ("spherical_design_221238",)),
    # The output below this polygon, -0.48898, is that of another one; the authors' code returns this.
    Construction("equidistant_vertices", (4, 15), "-0.490117", EQUIDISTANT, 7, ("myarr4",)),
    Construction("equidistant_vertices", (3, 9), "0e-12", EQUIDISTANT, 8, ("points",)),
    Construction("sums_against_differences", (500,), "1.1219", SUMS, 1, ("best_list",)),
)
