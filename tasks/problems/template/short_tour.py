"""Visit all cities on a short round trip: choose, again and again, the next city to go to.

This text is what the model is told is wanted. Say what the function is for, what it is given and what makes it good.
"""
# /// script
# # Packages that the sandbox needs, such as "scipy>=1.16"; numpy is there.
# dependencies = []
#
# [tool.overnight]
# title = "Short tours"
# score_name = "minus the tour's length, in sides of the square"
# # What the search is scored on. Each is one call of the run function below: here its arguments `cities` and `seed`.
# inputs = [[30, 1], [30, 2], [60, 3]]
# # The best programs of a night are tried on these, and the best of them is the night's best.
# validation = [[60, 11], [60, 12]]
# # Only the night's best and the start program are scored on these: whether it holds for what nobody has seen.
# held_out = [[100, 21], [100, 22]]
#
# [tool.overnight.limits]
# # For each input. `overnight check` proposes limits from what the function below uses.
# wall_s = 2
# memory_mib = 256
# ///

import math
import random

import funsearch


@funsearch.run
def evaluate(cities: int, seed: int) -> float:
    """Minus the length of the tour: one number, and higher is better."""
    tour = visit(cities, seed)
    return -sum(math.dist(here, there) for here, there in zip(tour, [*tour[1:], tour[0]], strict=True))


def visit(cities: int, seed: int) -> list[tuple[float, float]]:
    """Some random places, in the order in which the tour visits them."""
    drawn = random.Random(seed)
    places = [(drawn.random(), drawn.random()) for _ in range(cities)]
    tour, left = [places[0]], set(places[1:])
    while left:
        wishes = {
            place: wish(math.dist(tour[-1], place), math.dist(place, places[0]), len(left) / cities)
            for place in sorted(left)
        }
        # A score is worth what is made sure of here. An error ends the program, which then has none.
        if not all(math.isfinite(value) for value in wishes.values()):
            raise ValueError(f"not every wish is finite: {wishes}")
        tour.append(max(wishes, key=wishes.get))
        left.remove(tour[-1])
    return tour


@funsearch.inputs
def drawn(seed: int) -> list[int]:
    """Return an input for a seed: for `overnight audit`, for agents, and for further inputs (`generated.held_out`).

    It is no part of the search: leave it out where you have no others.
    """
    return [60, seed]


@funsearch.draw
def picture(cities: int, seed: int) -> str:
    """A picture of the tour for the report. It is no part of the search: leave it out, or draw something else."""
    tour = visit(cities, seed)
    drawing = funsearch.svg.Picture(220, 220, f"A tour through {cities} cities")
    points = [(10 + 200 * x, 210 - 200 * y) for x, y in tour]
    drawing.polygon(points, stroke=funsearch.svg.BLUE)
    for x, y in points:
        drawing.circle(x, y, 3, fill=funsearch.svg.INK)
    return str(drawing)


@funsearch.evolve
def wish(distance: float, to_start: float, left: float) -> float:
    """How much we wish to go to a city next.

    Args:
        distance: From here to the city.
        to_start: From the city to where the tour began and ends.
        left: The share of the cities that are not visited yet.
    """
    return -distance
