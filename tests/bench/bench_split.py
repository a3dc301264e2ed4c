"""What it costs to keep a function apart from what scores it, on the built-in problems: inline and split in each round.

    python -m tests.bench.bench_split [--image NAME] [--rounds N]

Prints milliseconds of one evaluation of the start program, microseconds that a call across adds, what one confirmation
takes, its container included, and the ratios. All are medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time

from overnight.schemas.problem import Problem
from overnight.tasks.evaluate.confirmation import confirmation
from overnight.tasks.evaluate.pool import open_fresh_pool, open_pool
from overnight.tasks.evaluate.sandbox import Sandbox
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem

CALLS = {"bin-packing-or": 6 * 500, "cap-set": 3**8}
"""Calls of the evolved function in one evaluation: one an item, one a vector."""


def seconds(sandbox: Sandbox, source: str) -> float:
    began = time.perf_counter()
    verdict = sandbox.evaluate(source)
    assert verdict.is_scored, verdict
    return time.perf_counter() - began


def measure(problem: Problem, image: str, rounds: int) -> tuple[float, float, float]:
    """Seconds of an inline evaluation, of a split one and of a confirmation."""
    source = problem.specification.text
    fresh = open_fresh_pool(confirmation(problem.job(isolation=True), problem.settings.noise), image=image)
    with (
        open_pool(problem.job(isolation=False), image=image, slots=1) as inline,
        open_pool(problem.job(isolation=True), image=image, slots=1) as split,
    ):
        seen = [[seconds(sandbox, source) for sandbox in (inline, split, fresh)] for _ in range(rounds)]
    fresh.close()
    whole, isolation, confirmed = (statistics.median(column) for column in zip(*seen, strict=True))
    return whole, isolation, confirmed


def compare(image: str, rounds: int) -> None:
    for name, calls in CALLS.items():
        whole, isolation, confirmed = measure(load_problem(find(name)), image, rounds)
        print(
            f"{name:16} inline {1000 * whole:7.1f} ms   split {1000 * isolation:7.1f} ms   "
            f"{1e6 * (isolation - whole) / calls:5.1f} µs a call   split/inline {isolation / whole:5.2f}   "
            f"confirmation {1000 * confirmed:7.1f} ms   confirmation/inline {confirmed / whole:5.2f}"
        )


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--image", default="overnight-sandbox")
    arguments.add_argument("--rounds", type=int, default=9)
    chosen = arguments.parse_args()
    compare(chosen.image, chosen.rounds)


if __name__ == "__main__":
    main()
