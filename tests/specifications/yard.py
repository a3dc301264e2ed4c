"""Container yard: choose the stack on which each container is put, so that few have to be moved again.

Improve `stack_for`. It is called for each container that arrives, and for each that lies on one that is fetched and
has to be moved to another stack. Only the top of a stack can be moved. The score is minus the moves of this kind, in
moves per 100 containers that are fetched.
"""
# /// script
# dependencies = []
#
# [tool.overnight]
# title = "Container yard"
# score_name = "minus the moves per 100 containers"
# inputs = [[600, 1], [600, 2], [600, 3], [600, 4], [600, 5], [600, 6]]
# show_inputs = false
# validation = [[600, 101], [600, 102], [600, 103], [600, 104], [600, 105], [600, 106], [600, 107], [600, 108],
#               [600, 109], [600, 110], [600, 111], [600, 112]]
# held_out = [[600, 201], [600, 202], [600, 203], [600, 204], [600, 205], [600, 206], [600, 207], [600, 208],
#             [600, 209], [600, 210], [600, 211], [600, 212], [600, 213], [600, 214], [600, 215], [600, 216],
#             [600, 217], [600, 218], [600, 219], [600, 220], [600, 221], [600, 222], [600, 223], [600, 224]]
# reducer = "mean"
#
# [tool.overnight.limits]
# wall_s = 5
# memory_mib = 512
# ///

import heapq
import random

import funsearch

STACKS, HEIGHT = 10, 5
MOST = 40  # containers that lie in the yard at a time


def draw_containers(count: int, drawn: random.Random) -> list[tuple[float, float, float, float]]:
    """Return containers by arrival: hour of arrival, hour when it is fetched, announced hour, how far that is off.

    Some are announced to the hour, most to half a day, and some are not known within two days.
    """
    now, containers = 0.0, []
    for _ in range(count):
        now += drawn.expovariate(1.0)
        fetched = now + drawn.choice((12.0, 30.0, 30.0, 60.0)) * drawn.uniform(0.2, 1.8)
        off = drawn.choice((1.0, 6.0, 6.0, 12.0, 24.0))
        containers.append((now, fetched, max(now, drawn.gauss(fetched, off)), off))
    return containers


@funsearch.run
def evaluate(count: int, seed: int) -> float:
    """Return minus the containers that are moved to another stack, per 100 that are fetched."""
    containers = draw_containers(count, random.Random(seed))
    stacks: list[list[int]] = [[] for _ in range(STACKS)]
    leaving: list[tuple[float, int]] = []
    moves = fetched = 0

    def put(number: int, now: float, barred: int) -> None:
        shown = [[(containers[one][2] - now, containers[one][3]) for one in stack] for stack in stacks]
        free = [place for place in range(STACKS) if place != barred and len(stacks[place]) < HEIGHT]
        place = stack_for((containers[number][2] - now, containers[number][3]), shown, free)
        if place not in free:
            raise ValueError(f"{place!r} is none of the stacks that are free, {free}")
        stacks[place].append(number)

    def fetch(now: float, number: int) -> int:
        place = next(place for place in range(STACKS) if number in stacks[place])
        moved = 0
        while stacks[place][-1] != number:
            put(stacks[place].pop(), now, place)
            moved += 1
        stacks[place].pop()
        return moved

    for number, (now, leaves, _, _) in enumerate(containers):
        while leaving and (leaving[0][0] <= now or len(leaving) >= MOST):
            hour, one = heapq.heappop(leaving)
            moves += fetch(min(hour, now), one)
            fetched += 1
        put(number, now, -1)
        heapq.heappush(leaving, (leaves, number))
    return -100 * moves / fetched


@funsearch.inputs
def drawn_input(seed: int) -> list[int]:
    """Return an input for a seed."""
    return [600, 1_000_000 + seed]


@funsearch.evolve
def stack_for(container: tuple[float, float], stacks: list[list[tuple[float, float]]], free: list[int]) -> int:
    """Return the stack on which a container is put, one of `free`.

    Args:
        container: Hours until it is announced to be fetched, below 0 where that has passed, and by how many hours
            such an announcement is usually off.
        stacks: The same of all containers in each stack, the lowest first.
        free: Numbers of the stacks on which it may be put.
    """
    return min(free, key=lambda place: len(stacks[place]))
