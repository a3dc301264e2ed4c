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
    """Minus the length of the tour: one number, and higher is better. The model does not see this function."""
    drawn = random.Random(seed)
    places = [(drawn.random(), drawn.random()) for _ in range(cities)]
    here, left, length = places[0], set(places[1:]), 0.0
    while left:
        wishes = {
            place: wish(math.dist(here, place), math.dist(place, places[0]), len(left) / cities)
            for place in sorted(left)
        }
        # A score is worth what is made sure of here. An error ends the program, which then has none.
        if not all(math.isfinite(value) for value in wishes.values()):
            raise ValueError(f"not every wish is finite: {wishes}")
        chosen = max(wishes, key=wishes.get)
        length += math.dist(here, chosen)
        left.remove(chosen)
        here = chosen
    return -length - math.dist(here, places[0])


@funsearch.evolve
def wish(distance: float, to_start: float, left: float) -> float:
    """How much we wish to go to a city next.

    Args:
        distance: From here to the city.
        to_start: From the city to where the tour began and ends.
        left: The share of the cities that are not visited yet.
    """
    return -distance
