"""A cache on flash memory: answer many requests from it, and write little.

Flash wears out by writing. If an object that is asked for is not in the full cache, either it takes the place of one
that is, which is a write, or it is passed on and not kept. Improve `worth`. It is called with the objects in the cache
and, last, the one that was asked for, and returns one number for each: the lowest, the first of equals, is not kept.

The score is hits of 100 requests; writes of 100 requests are the second objective. Objects have one size. Some are
asked for often, and which those are changes slowly; others are asked for once. What was asked before is known.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Cache on flash memory, 40 objects"
# inputs = [1, 2, 3]
# show_inputs = false
# validation = [101, 102]
# held_out = [201, 202, 203]
# score_name = "hits of 100 requests, and few writes"
#
# [tool.overnight.objectives]
# metrics = {writes = "minimize"}
# preference = "pareto"
#
# [tool.overnight.known]
# start = 29.75
# best = 49.1945
# label = "Belady's rule, which knows what will be asked"
# source = "Belady: A study of replacement algorithms for a virtual-storage computer, IBM Systems Journal 5"
# date = "1966-06-01"
# proven = true
# honesty = 38.0278
# honesty_held_out = 39.4444
# honesty_label = "what was asked for most often"
# baseline = "most_often"
# ///

from collections.abc import Callable

import funsearch
import numpy as np

SIZE, OBJECTS, REQUESTS, DAY = 40, 400, 1200, 300


@funsearch.run
def evaluate(seed: int) -> dict[str, float]:
    """Return hits and writes of 100 requests."""
    requests = draw_requests(seed)
    stays = serve(requests, worth)
    return {"score": score_of(requests, stays), "writes": 100 * len(stays) / REQUESTS}


def draw_requests(seed: int) -> list[int]:
    """Return requests, a fifth for objects asked for once, others by Zipf's law; a tenth of its ranks change a day."""
    rng = np.random.default_rng(seed)
    chances, names, requests = 1 / np.arange(1, OBJECTS + 1) ** 0.9, rng.permutation(OBJECTS), []
    for day in range(REQUESTS // DAY):
        moved = rng.choice(OBJECTS, OBJECTS // 10, replace=False)
        names[moved] = names[rng.permutation(moved)]
        often = rng.choice(names, DAY, p=chances / chances.sum())
        once = OBJECTS + DAY * day + np.arange(DAY)
        requests += np.where(rng.random(DAY) < 0.2, once, often).tolist()
    return requests


def serve(requests: list[int], worth: Callable[..., np.ndarray]) -> list[list[int]]:
    """Return the stays in the cache: place, first and last request (the length, if it is there at the end), hits."""
    last, gap, count = (np.full(OBJECTS + REQUESTS, start) for start in (0, REQUESTS, 0))
    cached, stays, now_there = {}, [], []
    for now, one in enumerate(requests):
        if count[one]:
            gap[one] = now - last[one]
        last[one], count[one] = now, count[one] + 1
        if one in cached:
            stays[cached[one]][3] += 1
            continue
        place = len(now_there)
        if place == SIZE:
            asked = np.array([*now_there, one])
            values = np.asarray(worth(now - last[asked], gap[asked], count[asked]), dtype=float)
            if values.shape != asked.shape:
                raise ValueError(f"worth must return one number for each of {asked.size} objects")
            place = int(np.argmin(values))
            if place == SIZE:
                continue
            stays[cached.pop(now_there[place])][2] = now
            now_there[place] = one
        else:
            now_there.append(one)
        cached[one] = len(stays)
        stays.append([place, now, REQUESTS, 0])
    return stays


def score_of(requests: list[int], stays: list[list[int]]) -> float:
    """Return hits of 100 requests."""
    return 100 * sum(hits for *_, hits in stays) / len(requests)


def most_often(seed: int) -> float:
    """Return the score where what was asked for most often is kept, of those the latest."""
    requests = draw_requests(seed)
    return score_of(requests, serve(requests, lambda idle, _, count: count - idle / REQUESTS))


@funsearch.inputs
def fresh(seed: int) -> int:
    """Return an input: the seed of what is drawn for it."""
    return seed


@funsearch.draw
def picture(seed: int) -> str:
    """Draw what is in each place of the cache over time: blue if it is asked for again while it is there."""
    requests = draw_requests(seed)
    stays = serve(requests, worth)
    hits = score_of(requests, stays)
    title = f"{hits:.1f} hits and {100 * len(stays) / REQUESTS:.1f} writes of 100 requests to a cache of {SIZE} objects"
    drawing = funsearch.svg.Picture(620, 6 * SIZE + 50, title)
    for place, first, end, hits in stays:
        colour = funsearch.svg.BLUE if hits else funsearch.svg.ORANGE
        drawing.rect(10 + first / 2, 12 + 6 * place, (end - first) / 2, 5, fill=colour)
    drawing.text(10, 6 * SIZE + 36, title)
    return str(drawing)


@funsearch.evolve
def worth(idle: np.ndarray, gap: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return what each object is worth; the last is the one that is asked for now.

    Args:
        idle: Requests since each was last asked for, shape (objects,); 0 for the last.
        gap: Requests between the last two times that each was asked for, shape (objects,); 1200 if there was one time.
        count: How often each was asked for, shape (objects,).

    Returns:
        One number for each object, shape (objects,).
    """
    return -idle
