"""How fast candidates are judged, beside what isolates less and beside what starts more, all in the same rounds.

    python -m tests.bench.bench_sandbox [--image NAME] [--slots N] [--rounds N]

For candidates that do nothing, for such that import numpy, and for candidates of 50 ms of processor time: the sandbox;
the same fork server without containers (the backend `process`: this Python, one user, no control group); as many
unisolated processes that fork for each, numpy loaded, and do no more, which is what a process for each candidate costs
at least; as many that only `exec` the program; and, but for the last, `docker exec` for each candidate. Each round has
all of them, one after the other; rates and ratios are medians of the rounds. Then what split evaluation and
confirmation cost (`bench_split`).
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import docker

from overnight.schemas.job import Call, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Verdict
from overnight.tasks.evaluate.pool import open_pool
from tests.bench import bench_split

JOB = Job("evaluate", (Call((1,)),), Limits(wall_s=10, memory_mib=256))
TRIVIAL = "def evaluate(n):\n    return n\n"
NUMPY = """
import numpy as np

def evaluate(n):
    return int(np.ones(n).sum())
"""
BUSY = """
import time

def evaluate(n):
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    return n
"""

Judge = Callable[[str], object]


def run_unisolated(source: str) -> float:
    namespace: dict[str, Callable[[int], float]] = {}
    exec(source, namespace)
    return namespace["evaluate"](1)


def run_forked(source: str) -> bytes:
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(answer, repr(run_unisolated(source)).encode())
        os._exit(0)
    os.close(answer)
    said = os.read(answers, 100)
    os.close(answers)
    os.waitpid(child, 0)
    return said


def load_numpy() -> None:
    """As the runner does before it forks."""
    for name in ("numpy", "numpy.random", "numpy.linalg", "numpy.fft"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


@contextmanager
def executing(image: str, slots: int) -> Iterator[Judge]:
    """Starts a Python for each candidate, in one container that is there."""
    client = docker.from_env(max_pool_size=2 * slots)
    container = client.containers.run(
        image, ["-c", "import time; time.sleep(3600)"], entrypoint="python3", network_mode="none", detach=True
    )

    def judge(source: str) -> None:
        ended = container.exec_run(["python3", "-c", f"{source}\nprint(evaluate(1))"])
        assert ended == (0, b"1\n"), ended

    try:
        yield judge
    finally:
        container.remove(force=True)
        client.close()


def rate(executor: Executor, judge: Judge, source: str, count: int) -> float:
    """Candidates a second."""
    began = time.perf_counter()
    for result in executor.map(judge, [source] * count):
        assert not isinstance(result, Verdict) or result.is_scored, result
    return count / (time.perf_counter() - began)


Way = tuple[str, Executor, Judge, int]
"""A way to judge: its name, who runs it, how, and how many candidates a round."""


def compare(kind: str, source: str, ways: Sequence[Way], rounds: int, slots: int) -> None:
    """Prints the rate of each way, and of the first beside each of the others."""
    for _, executor, judge, _ in ways:
        rate(executor, judge, source, slots)
    seen = [[rate(executor, judge, source, count) for _, executor, judge, count in ways] for _ in range(rounds)]
    columns = list(zip(*seen, strict=True))
    for (name, *_), column in zip(ways, columns, strict=True):
        rates = statistics.median(column)
        ratio = statistics.median(ours / theirs for ours, theirs in zip(columns[0], column, strict=True))
        print(f"{kind:8} {name:14} {rates:8.1f}/s  {1000 * slots / rates:6.2f} ms a slot   sandbox/it {ratio:6.3f}")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--image", default="overnight-sandbox")
    arguments.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    image, slots, rounds = chosen.image, chosen.slots, chosen.rounds
    with ExitStack() as stack:
        enter = stack.enter_context
        threads, processes = enter(ThreadPoolExecutor(slots)), enter(ProcessPoolExecutor(slots))
        forking = enter(ProcessPoolExecutor(slots, initializer=load_numpy))
        began = time.perf_counter()
        pool = enter(open_pool(JOB, image=image, slots=slots))
        print(f"{slots} slots started in {time.perf_counter() - began:.2f} s, {pool.versions}")
        bare = enter(open_pool(JOB, image="", backend="process", slots=slots))
        print(f"bare fork server: {bare.versions}")
        each = enter(executing(image, slots))
        trivial: list[Way] = [
            ("sandbox", threads, pool.evaluate, 300),
            ("bare server", threads, bare.evaluate, 300),
            ("fork alone", forking, run_forked, 300),
            ("unisolated", processes, run_unisolated, 300),
            ("docker exec", threads, each, 2 * slots),
        ]
        busy: list[Way] = [(name, executor, judge, 20 * slots) for name, executor, judge, _ in trivial[:-1]]
        compare("trivial", TRIVIAL, trivial, rounds, slots)
        compare("numpy", NUMPY, trivial, rounds, slots)
        compare("50 ms", BUSY, busy, rounds, slots)
    bench_split.compare(image, rounds)


if __name__ == "__main__":
    main()
