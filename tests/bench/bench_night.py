"""A whole night beside two unisolated processes: candidates of 50 ms, models at 0 s and at 1 s latency.

One model seldom improves anything; each answer of the other is the best so far, so that confirmations are many.

    python -m tests.bench.bench_night [CANDIDATES]

The reference evaluates the very programs that the night at latency 0 evaluated, in two bare processes that do nothing
else. Start-up (libraries, containers, server) is counted apart: the clock runs from the start of generation 1.
"""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from overnight.flows.environment import prepare
from overnight.tasks.history.local_backend import LocalBackend

prepare()

from overnight.flows.night.search import search  # noqa: E402
from overnight.flows.night.stop_conditions import StopConditions  # noqa: E402
from overnight.flows.prefect_server.embedded import PrefectServer  # noqa: E402
from overnight.flows.start.create_run import create_run  # noqa: E402
from overnight.flows.start.trust import accept  # noqa: E402
from overnight.tasks.history.database import Database  # noqa: E402
from overnight.tasks.problems.loading.load import load_problem  # noqa: E402
from tests.bench.bare import evaluate  # noqa: E402

SPECIFICATIONS = {
    name: Path(__file__).parents[1] / f"specifications/{file}.py"
    for name, file in {"constants": "fifty", "improving": "improving"}.items()
}
INPUTS = {"constants": (200, 1), "improving": (0,)}
SEARCH = {"prompts": 6, "samples": 8}
GENERATION = 48
RATE = """
    SELECT epoch(max(ended_at) - min(started_at)) AS seconds,
        (SELECT count(*) FROM programs WHERE generation > 0 AND wall_s > 0) AS evaluated
    FROM generations WHERE generation > 0
"""


def night(kind: str, latency_s: float, candidates: int, history: Path) -> tuple[float, int]:
    """Seconds from the start of generation 1 to the last commit, and how many candidates ran."""
    provider = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.loopback", str(latency_s), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert provider.stdout is not None
    base = provider.stdout.readline().decode().strip()
    model = {"name": "openai/test", "api_base": base}
    settings = {"sampling": {"models": [model], "concurrency": 64}, "search": SEARCH}
    try:
        path = SPECIFICATIONS[kind]
        problem = load_problem(path, settings)
        accept(problem, settings)
        create_run(problem, path, LocalBackend(history), seed=1, run_id="bench")
        search("bench", str(history), StopConditions(generations=-(-candidates // GENERATION)))
    finally:
        provider.communicate()
    (row,) = Database(history).rows(RATE)
    return row["seconds"], row["evaluated"]


def reference(kind: str, history: Path) -> float:
    """Candidates a second of two bare processes on the night's own programs."""
    specification = load_problem(SPECIFICATIONS[kind]).specification
    bodies = [
        r["body"] for r in Database(history).rows("SELECT body FROM programs WHERE generation > 0 AND wall_s > 0")
    ]
    sources = [specification.program(body).main for body in bodies]
    with ProcessPoolExecutor(2) as processes:
        list(processes.map(evaluate, sources[:4], itertools.repeat(INPUTS[kind])))
        begin = time.monotonic()
        list(processes.map(evaluate, sources, itertools.repeat(INPUTS[kind])))
        return len(sources) / (time.monotonic() - begin)


def main() -> None:
    candidates = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    os.environ.setdefault("OPENAI_API_KEY", "test")
    with tempfile.TemporaryDirectory() as folder, PrefectServer() as server, server.connected():
        night("constants", 0.0, GENERATION, Path(folder) / "warm-up")
        for kind, latency_s in itertools.product(SPECIFICATIONS, (0.0, 1.0)):
            history = Path(folder) / kind / str(latency_s)
            seconds, evaluated = night(kind, latency_s, candidates, history)
            bare = reference(kind, history)
            rate = evaluated / seconds
            print(
                f"{kind}, latency {latency_s:g} s: {evaluated} candidates in {seconds:.2f} s, {rate:.1f}/s; "
                f"two bare processes {bare:.1f}/s; ratio {rate / bare:.2f}"
            )
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the orchestrator {peak_mib:.0f} MiB")


if __name__ == "__main__":
    main()
