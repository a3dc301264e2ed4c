"""Bakery: each morning, how many loaves of a kind are baked, so that the days earn most.

Improve `bakes`. It is called once for each day and kind of bread, in the order of the days. What is not sold in the
evening is worth little; who comes after the last loaf buys nothing and is not counted. The score is what a kind earns
a day, in euros.
"""
# /// script
# dependencies = []
#
# [tool.overnight]
# title = "Bakery"
# score_name = "euros a day"
# inputs = [[120, 1], [120, 2], [120, 3], [120, 4], [120, 5], [120, 6]]
# show_inputs = false
# validation = [[120, 101], [120, 102], [120, 103], [120, 104], [120, 105], [120, 106], [120, 107], [120, 108],
#               [120, 109], [120, 110], [120, 111], [120, 112]]
# held_out = [[120, 201], [120, 202], [120, 203], [120, 204], [120, 205], [120, 206], [120, 207], [120, 208],
#             [120, 209], [120, 210], [120, 211], [120, 212], [120, 213], [120, 214], [120, 215], [120, 216],
#             [120, 217], [120, 218], [120, 219], [120, 220], [120, 221], [120, 222], [120, 223], [120, 224]]
# reducer = "mean"
#
# [tool.overnight.limits]
# wall_s = 5
# memory_mib = 512
# ///

import math
import random

import funsearch

KINDS = 8
PRICE, REST, COST = 3.0, 0.3, 1.0


def draw_demand(days: int, drawn: random.Random) -> list[tuple[int, bool]]:
    """Return for each day how many loaves of a kind are asked for, and whether it is on offer.

    The weekly pattern is the kind's own. Its level drifts, and jumps now and then, when a shop opens or closes nearby.
    """
    level, drift = drawn.uniform(15, 80), drawn.uniform(0.0, 0.03)
    week = [drawn.uniform(0.6, 1.4) for _ in range(7)]
    gain, noise = drawn.uniform(1.2, 2.0), drawn.uniform(0.05, 0.3)
    demand, on_offer = [], False
    for day in range(days):
        level *= math.exp(drawn.gauss(0.0, drift))
        if drawn.random() < 0.01:
            level *= drawn.choice((0.6, 1.5))
        on_offer = drawn.random() < (0.6 if on_offer else 0.05)
        mean = level * week[day % 7] * (gain if on_offer else 1.0)
        demand.append((max(0, round(drawn.gauss(mean, noise * mean + math.sqrt(mean)))), on_offer))
    return demand


@funsearch.run
def evaluate(days: int, seed: int) -> float:
    """Return what a kind earns a day, in euros, over all kinds and days."""
    drawn, earned = random.Random(seed), 0.0
    for _ in range(KINDS):
        demand = draw_demand(days, drawn)
        offers = [on_offer for _, on_offer in demand]
        baked: list[int] = []
        sold: list[int] = []
        for day, (asked, _) in enumerate(demand):
            loaves = min(1000, max(0, int(bakes(list(baked), list(sold), offers[: day + 1], day))))
            baked.append(loaves)
            sold.append(min(asked, loaves))
            earned += PRICE * sold[-1] + REST * (loaves - sold[-1]) - COST * loaves
    return earned / (KINDS * days)


@funsearch.inputs
def drawn_input(seed: int) -> list[int]:
    """Return an input for a seed."""
    return [120, 1_000_000 + seed]


@funsearch.evolve
def bakes(baked: list[int], sold: list[int], offers: list[bool], day: int) -> int:
    """Return how many loaves are baked today.

    Args:
        baked: Loaves baked on each day before, the first day first; empty on the first day.
        sold: Loaves sold on each of these days; as many as were baked where perhaps more were asked for.
        offers: Whether the bread was on offer on each of these days, and, last, today.
        day: Number of today, from 0; days 7 apart are the same weekday.
    """
    return sold[-1] + 2 if sold else 40
