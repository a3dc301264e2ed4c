"""Whether programs with the same score on the first input are the same: what a search would lose that drops them.

    python -m tests.bench.bench_first_input [--answers 200] [PROBLEM…]

The built-in model searches in this process, as in `bench_builtin`. Counted are scored programs whose score on the first
input was there before; of these, those that have the same scores as an earlier one on all inputs; and those that are
better than all before with that score on the first input.
"""

from __future__ import annotations

import argparse
import signal
from collections import defaultdict
from statistics import fmean

from overnight.flows.night.samples_in_flight import samples_in_flight
from tests.bench.bench_builtin import Search, stop

PROBLEMS = ("bin-packing-or", "bin-packing-weibull", "optimizer-rule", "automl-zero")


def count(signatures: list[tuple[float, ...]]) -> tuple[int, int, int]:
    """Return how many repeat a first score, are equal on all inputs, and are better than all with that first score."""
    seen: defaultdict[float, set[tuple[float, ...]]] = defaultdict(set)
    repeated = equal = better = 0
    for scores in signatures:
        before = seen[scores[0]]
        repeated += bool(before)
        equal += scores in before
        better += bool(before) and scores not in before and fmean(scores) > max(map(fmean, before))
        before.add(scores)
    return repeated, equal, better


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_first_input")
    parser.add_argument("--answers", type=int, default=200, help="answers of the model")
    parser.add_argument("problems", nargs="*", default=PROBLEMS, help="names of problems with several inputs")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, stop)
    for name in options.problems:
        search = Search(name, 1, {"sampling": {"concurrency": samples_in_flight(options.answers)}})
        search.run(options.answers)
        signatures = search.evaluations.signatures
        repeated, equal, better = count(signatures)
        print(
            f"{name}: {len(signatures)} scored on {len(signatures[0])} inputs; {repeated} with a first score that was "
            f"there, {equal} of them equal on all, {better} better than all with that first score",
            flush=True,
        )


if __name__ == "__main__":
    main()
