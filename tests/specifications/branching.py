"""Branching: which literal a solver for satisfiability assumes next, so that its search tree has fewest nodes.

Improve `branches`. The solver assigns what unit clauses force, asks `branches` for a literal, searches the formula
with it first, and, where that fails, the formula with its negation. The score is minus the binary logarithm of the
number of nodes of the tree.
"""
# /// script
# dependencies = []
#
# [tool.overnight]
# title = "Branching"
# score_name = "minus log2 of nodes"
# inputs = [[110, 1], [110, 2], [110, 3], [110, 4], [110, 5], [110, 6], [110, 7], [110, 8]]
# show_inputs = false
# validation = [[110, 101], [110, 102], [110, 103], [110, 104], [110, 105], [110, 106], [110, 107], [110, 108],
#               [110, 109], [110, 110], [110, 111], [110, 112], [110, 113], [110, 114], [110, 115], [110, 116]]
# held_out = [[110, 201], [110, 202], [110, 203], [110, 204], [110, 205], [110, 206], [110, 207], [110, 208],
#             [110, 209], [110, 210], [110, 211], [110, 212], [110, 213], [110, 214], [110, 215], [110, 216],
#             [110, 217], [110, 218], [110, 219], [110, 220], [110, 221], [110, 222], [110, 223], [110, 224]]
# reducer = "mean"
#
# [tool.overnight.limits]
# wall_s = 10
# memory_mib = 512
# ///

import math
import random

import funsearch

MOST_NODES = 3000


def draw_formula(variables: int, seed: int) -> list[tuple[int, ...]]:
    """Return clauses of three or four literals: `v` is variable v, `-v` its negation.

    Variables stand on a circle; half of them join neighbours, half join any, and some variables come often.
    """
    drawn = random.Random(seed)
    often = [drawn.randint(1, variables) for _ in range(variables // 8)]
    clauses = []
    for _ in range(int(variables * drawn.uniform(4.0, 4.5))):
        size = drawn.choice((3, 3, 3, 3, 3, 3, 3, 3, 3, 4))
        first = drawn.choice(often) if drawn.random() < 0.25 else drawn.randint(1, variables)
        chosen = {first}
        while len(chosen) < size:
            near = first + drawn.randint(-9, 9) if drawn.random() < 0.5 else drawn.randint(1, variables)
            chosen.add((near - 1) % variables + 1)
        clauses.append(tuple(v if drawn.random() < 0.5 else -v for v in sorted(chosen)))
    return clauses


def assign(clauses: list[tuple[int, ...]], literal: int) -> list[tuple[int, ...]] | None:
    """Return what is left of clauses once a literal, and all that then is forced, holds; `None` in a conflict."""
    forced = [literal]
    while forced:
        literal = forced.pop()
        left = []
        for clause in clauses:
            if literal in clause:
                continue
            if -literal in clause:
                clause = tuple(one for one in clause if one != -literal)
                if not clause:
                    return None
                if len(clause) == 1:
                    forced.append(clause[0])
            left.append(clause)
        clauses = left
    return clauses


@funsearch.run
def evaluate(variables: int, seed: int) -> float:
    """Return minus the binary logarithm of the number of nodes until the formula is decided, 3,000 at most."""
    nodes, open_formulas = 0, [draw_formula(variables, seed)]
    while open_formulas and nodes < MOST_NODES:
        clauses = open_formulas.pop()
        nodes += 1
        if not clauses:
            break
        literal = int(branches(list(clauses)))
        if not any(literal in clause or -literal in clause for clause in clauses):
            raise ValueError(f"{literal} is no literal of a variable that is still open")
        for one in (-literal, literal):
            left = assign(clauses, one)
            if left is not None:
                open_formulas.append(left)
    return -math.log2(nodes)


@funsearch.inputs
def drawn_input(seed: int) -> list[int]:
    """Return an input for a seed."""
    return [110, 1_000_000 + seed]


@funsearch.evolve
def branches(clauses: list[tuple[int, ...]]) -> int:
    """Return the literal that is assumed next: `v` for variable v true, `-v` for false.

    Args:
        clauses: Clauses that are still open, of the literals that are not yet assigned, two or more in each.
    """
    return clauses[0][0]
