"""Hotel: requests for rooms come one after another; take or refuse each, so that the nights earn most.

Improve `takes`. It is called for each request for which a room is free on all of its nights, in the order in which
they come. What is taken cannot be cancelled. The score is what all rooms earn, in euros per room and night.
"""
# /// script
# dependencies = []
#
# [tool.overnight]
# title = "Bookings"
# score_name = "euros per room and night"
# inputs = [[900, 1], [900, 2], [900, 3], [900, 4], [900, 5], [900, 6]]
# show_inputs = false
# validation = [[900, 101], [900, 102], [900, 103], [900, 104], [900, 105], [900, 106], [900, 107], [900, 108],
#               [900, 109], [900, 110], [900, 111], [900, 112]]
# held_out = [[900, 201], [900, 202], [900, 203], [900, 204], [900, 205], [900, 206], [900, 207], [900, 208],
#             [900, 209], [900, 210], [900, 211], [900, 212], [900, 213], [900, 214], [900, 215], [900, 216],
#             [900, 217], [900, 218], [900, 219], [900, 220], [900, 221], [900, 222], [900, 223], [900, 224]]
# reducer = "mean"
#
# [tool.overnight.limits]
# wall_s = 5
# memory_mib = 512
# ///

import random

import funsearch

ROOMS, NIGHTS = 25, 42
WEEKDAY, WEEKEND = 90.0, 130.0


def draw_requests(count: int, seed: int) -> list[tuple[int, int, int, float]]:
    """Return requests as they come: the day, the first night, the number of nights, euros for each of them.

    Guests on business come late, for weekdays, and pay more; others come early, and often stay over a weekend.
    """
    drawn = random.Random(seed)
    demand = drawn.uniform(0.8, 1.3)
    requests = []
    for _ in range(int(count * demand)):
        first = drawn.randrange(NIGHTS)
        if drawn.random() < 0.4:
            ahead, nights, price = int(drawn.expovariate(1 / 4)), drawn.choice((1, 1, 1, 2, 2, 3)), 1.5
            first -= max(0, first % 7 - 3)
        else:
            ahead, nights, price = int(drawn.expovariate(1 / 25)), drawn.choice((1, 2, 2, 3, 4, 5, 7)), 1.0
        nights = min(nights, NIGHTS - first)
        usual = sum(WEEKEND if (first + one) % 7 >= 5 else WEEKDAY for one in range(nights)) / nights
        requests.append((first - ahead, first, nights, round(price * usual * drawn.uniform(0.6, 1.25), 2)))
    return sorted(requests)


@funsearch.run
def evaluate(count: int, seed: int) -> float:
    """Return what all rooms earn, euros per room and night."""
    free, earned = [ROOMS] * NIGHTS, 0.0
    for day, first, nights, price in draw_requests(count, seed):
        asked = range(first, first + nights)
        if all(free[night] for night in asked) and takes(
            price, nights, first - day, first % 7, [free[night] for night in asked], list(free)
        ):
            earned += price * nights
            for night in asked:
                free[night] -= 1
    return earned / (ROOMS * NIGHTS)


@funsearch.inputs
def drawn(seed: int) -> list[int]:
    """Return an input for a seed."""
    return [900, 1_000_000 + seed]


@funsearch.evolve
def takes(price: float, nights: int, ahead: int, weekday: int, rooms: list[int], free: list[int]) -> bool:
    """Return whether a request is taken.

    Args:
        price: Euros that it pays for each night.
        nights: Number of nights.
        ahead: Days until the first night; 0 is today.
        weekday: Weekday of the first night, from 0, Monday; the nights of 5 and 6 are the weekend.
        rooms: Rooms that are free now on each of its nights, of 25.
        free: Rooms that are free now on each of all 42 nights, past ones included; night 0 is a Monday.
    """
    return True
