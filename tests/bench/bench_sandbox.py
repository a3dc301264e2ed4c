"""How fast candidates are judged, beside unisolated processes that only `exec` them, in the same rounds.

    .venv/bin/python tests/bench/bench_sandbox.py [--image NAME] [--slots N] [--rounds N]

Prints candidates a second and milliseconds each, the best of the rounds, and the ratio to the reference.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from schemas.job import Call, Job, Limits
from schemas.outcome import Verdict
from tasks.evaluate.pool import open_pool

TRIVIAL = "def evaluate(n):\n    return n\n"
BUSY = """
import time

def evaluate(n):
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    return n
"""


def run_unisolated(source: str) -> float:
    namespace: dict[str, Callable[[int], float]] = {}
    exec(source, namespace)
    return namespace["evaluate"](1)


def rate(executor: Executor, judge: Callable[[str], object], source: str, count: int) -> float:
    """Candidates a second."""
    began = time.perf_counter()
    for result in executor.map(judge, [source] * count):
        assert not isinstance(result, Verdict) or result.is_scored, result
    return count / (time.perf_counter() - began)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--image", default="overnight-sandbox")
    arguments.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args()
    job = Job("evaluate", (Call((1,)),), Limits(wall_s=10, memory_mib=256))
    began = time.perf_counter()
    with (
        open_pool(job, image=chosen.image, slots=chosen.slots) as pool,
        ThreadPoolExecutor(chosen.slots) as threads,
        ProcessPoolExecutor(chosen.slots) as processes,
    ):
        sys.stdout.write(f"{chosen.slots} slots started in {time.perf_counter() - began:.2f} s\n")
        for name, source, count in (("trivial", TRIVIAL, 400), ("50 ms", BUSY, 40)):
            rounds = [
                (rate(threads, pool.evaluate, source, count), rate(processes, run_unisolated, source, count))
                for _ in range(chosen.rounds)
            ]
            best, reference = (max(column) for column in zip(*rounds, strict=True))
            median = statistics.median(ours / theirs for ours, theirs in rounds)
            sys.stdout.write(
                f"{name:8} {best:8.1f}/s ({1000 * chosen.slots / best:6.2f} ms a slot)   reference {reference:8.1f}/s"
                f"   best/best {best / reference:.3f}   median of ratios {median:.3f}\n"
            )


if __name__ == "__main__":
    main()
