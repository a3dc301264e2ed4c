"""A vertex cover of a random graph: vertices are taken by a priority until all edges are covered."""
# /// script
# [tool.overnight]
# title = "Vertex cover"
# inputs = [1, 2, 3]
# validation = [101, 102, 103]
# held_out = [201, 202, 203, 204, 205, 206, 207, 208, 209, 210]
# show_inputs = false
# ///

import random

import funsearch


@funsearch.run
def evaluate(seed: int) -> float:
    """Minus the number of vertices."""
    draw = random.Random(seed)
    edges = {(a, b) for a in range(40) for b in range(a) if draw.random() < 0.12}
    taken = 0
    while edges:
        near = {
            one: {a + b - one for a, b in edges if one in (a, b)} for one in {each for edge in edges for each in edge}
        }
        best = max(
            near,
            key=lambda one: priority(
                float(len(near[one])),
                float(min(len(near[other]) for other in near[one])),
                float(sum(len(near[other]) for other in near[one])),
            ),
        )
        edges = {edge for edge in edges if best not in edge}
        taken += 1
    return -float(taken)


@funsearch.evolve
def priority(degree: float, least: float, around: float) -> float:
    """The vertex with the highest number is taken: its degree, the least one around it, and the sum around it."""
    return around
