"""Checkpoints of a chain: go back through its steps with few states kept, and few steps computed again.

Back-propagation needs the states of a forward computation in reverse order. Any state can be computed again from one
before it; to keep all is fast and takes much memory. Improve `split`. It is asked of a segment of `length` steps, whose
first state is kept, and says after how many steps another state is kept, which splits the segment. The part behind it
is done first, then that state is given up, then the part before. With 0 none is kept: each state of the segment is
computed from the first one.

The score is minus the steps that are computed to reach states. The states that are kept at a time, beside the first of
all, are the second objective. Both ends are easy; the front has the fewest steps for each number of states.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Checkpoints of a chain, 100 steps"
# origin = "Griewank and Walther 2000"
# inputs = [100]
# score_name = "minus the steps that are computed to reach all states of a chain in reverse order"
#
# [tool.overnight.objectives]
# metrics = {states = "minimize"}
# preference = "pareto"
#
# [tool.overnight.known]
# start = -411
# best = -99
# label = "every state kept"
# source = "Griewank, Walther: Algorithm 799: Revolve, ACM Trans. Math. Softw. 26, which has the whole front"
# date = "2000-03-01"
# proven = true
# honesty = -316
# honesty_label = "halves, with no limit on states"
# baseline = "halves"
# ///

from collections.abc import Callable

import funsearch


@funsearch.run
def evaluate(n: int) -> dict[str, int]:
    """Return minus the steps to go back through n, and the states that are kept at a time."""
    sweeps, kept = schedule(n, split)
    return {"score": -sum(end - begin for begin, end in sweeps), "states": max((held for *_, held in kept), default=0)}


def schedule(n: int, split: Callable[[int, int], int]) -> tuple[list[tuple[int, int]], list[tuple[int, int, int, int]]]:
    """Return all sweeps (from, to) in order, and of each state kept its step, first and last sweep, and states held."""
    sweeps, kept = [], []

    def back(first: int, length: int, held: int) -> None:
        while length > 1:
            ahead = int(split(length, held))
            if not 0 <= ahead < length:
                raise ValueError(f"split must return a number from 0 to {length - 1}, got {ahead}")
            if not ahead:
                sweeps.extend((first, first + step) for step in range(length - 1, 0, -1))
                return
            sweeps.append((first, first + ahead))
            begin = len(sweeps)
            back(first + ahead, length - ahead, held + 1)
            kept.append((first + ahead, begin, len(sweeps), held + 1))
            length = ahead

    back(0, n, 0)
    return sweeps, kept


def halves(n: int) -> int:
    """Return the score of halves."""
    return -sum(end - begin for begin, end in schedule(n, lambda length, _: length // 2)[0])


@funsearch.draw
def picture(n: int) -> str:
    """Draw the sweeps from left to right, and the states while they are kept."""
    sweeps, kept = schedule(n, split)
    steps, ends = sum(end - begin for begin, end in sweeps), [0]
    for begin, end in sweeps:
        ends.append(ends[-1] + end - begin)
    x, y = 460 / steps, 250 / n
    title = f"{n} steps back with {max((held for *_, held in kept), default=0)} states kept, {steps} steps computed"
    drawing = funsearch.svg.Picture(480, 300, title)
    for step, first, last, _ in kept:
        ordinate = 262 - y * step
        drawing.line(10 + x * ends[first], ordinate, 10 + x * ends[last], ordinate, stroke=funsearch.svg.SOFT)
    for (begin, end), at in zip(sweeps, ends[:-1], strict=True):
        corners = 10 + x * at, 262 - y * begin, 10 + x * (at + end - begin), 262 - y * end
        drawing.line(*corners, stroke=funsearch.svg.BLUE)
    drawing.text(10, 286, title)
    return str(drawing)


@funsearch.evolve
def split(length: int, held: int) -> int:
    """Return after how many steps of a segment another state is kept.

    Args:
        length: Steps of the segment, 2 or more.
        held: States that are kept now, beside the first of all.

    Returns:
        A number from 1 to length - 1, or 0 to keep none.
    """
    if held >= 3:
        return 0
    return length // 2
