"""A whole night over three machines with engines of their own, beside the same night on one machine of as many slots.

    python -m tests.bench.bench_cluster_night [CANDIDATES]

Candidates sleep for a second, 96 in a generation; the model is on loopback and answers at once. The machines have four
slots each. Prefect, Parquet and containers are real. The clock runs from the start of generation 1 to the last commit.
Then a machine joins another one; its time runs from the start of its process until it has as many programs as slots.
Only root can start engines.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

from overnight.flows.environment import prepare
from overnight.tasks.history.local_backend import LocalBackend

prepare()

from overnight.flows.cluster.choice import VARIABLE  # noqa: E402
from overnight.flows.night.search import search  # noqa: E402
from overnight.flows.night.stop_conditions import StopConditions  # noqa: E402
from overnight.flows.prefect_server.embedded import PrefectServer  # noqa: E402
from overnight.flows.start.create_run import create_run  # noqa: E402
from overnight.flows.start.trust import accept  # noqa: E402
from overnight.tasks.history.database import Database  # noqa: E402
from overnight.tasks.problems.loading.load import load_problem  # noqa: E402
from tests.bench.bench_cluster import IMAGE, PROGRAM, job_of, on_cluster  # noqa: E402
from tests.bench.bench_night import RATE  # noqa: E402
from tests.engine import PrivateEngine, private_engine  # noqa: E402
from tests.machines import machines  # noqa: E402

SLEEPING = Path(__file__).parents[1] / "specifications/sleeping.py"
SECONDS = 1.0
SLOTS = 4
PROMPTS, SAMPLES = 24, 4
SEARCH = {"prompts": PROMPTS, "samples": SAMPLES}


def night(candidates: int, history: Path) -> float:
    """Candidates a second of a night, on the cluster that the environment names or here."""
    provider = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.loopback", "0", "constants"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert provider.stdout is not None
    model = {"name": "openai/test", "api_base": provider.stdout.readline().decode().strip()}
    settings = {
        "inputs": [SECONDS],
        "sampling": {"models": [model], "concurrency": PROMPTS * SAMPLES},
        "search": SEARCH,
        "sandbox": {"slots": SLOTS},
    }
    try:
        problem = load_problem(SLEEPING, settings)
        accept(problem, settings)
        create_run(problem, SLEEPING, LocalBackend(history), seed=1, run_id="bench")
        search("bench", str(history), StopConditions(generations=-(-candidates // (PROMPTS * SAMPLES))))
    finally:
        provider.communicate()
    (row,) = Database(history).rows(RATE)
    rows = Database(history).rows("SELECT machine, outcome, count(*) AS n FROM programs GROUP BY ALL ORDER BY ALL")
    print(
        "    " + ", ".join(f"{row['machine'] or 'the head'}: {row['n']} {row['outcome']}" for row in rows), flush=True
    )
    return row["evaluated"] / row["seconds"]


@contextlib.contextmanager
def several(engines: list[PrivateEngine], folder: Path) -> Iterator[None]:
    """A cluster of a machine for each engine, which the environment names within the context."""
    folder.mkdir()
    with machines(folder) as cluster:
        for number, engine in enumerate(engines, start=1):
            cluster.join(f"machine-{number}", SLOTS, DOCKER_HOST=engine.host)
        with patch.dict(os.environ, {VARIABLE: cluster.address}):
            yield


def joining_s(engine: PrivateEngine) -> float:
    """Seconds from the start of a machine that joins another until all its slots have a program."""
    answered = list[float]()
    is_over = threading.Event()
    with on_cluster(job_of(SECONDS), 1, SLOTS) as (pool, cluster):

        def evaluate() -> None:
            while not is_over.is_set():
                verdict = pool.evaluate(PROGRAM)
                if verdict.machine == "joining":
                    answered.append(time.monotonic() - verdict.wall_s)

        with ThreadPoolExecutor(4 * SLOTS) as threads:
            for _ in range(4 * SLOTS):
                threads.submit(evaluate)
            began = time.monotonic()
            cluster.join("joining", SLOTS, DOCKER_HOST=engine.host)
            while len(answered) < SLOTS:
                time.sleep(0.05)
            is_over.set()
    return sorted(answered)[SLOTS - 1] - began


def main() -> None:
    candidates = int(sys.argv[1]) if len(sys.argv) > 1 else 4 * PROMPTS * SAMPLES
    os.environ.setdefault("OPENAI_API_KEY", "test")
    os.environ.pop(VARIABLE, None)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = [stack.enter_context(private_engine(IMAGE)) for _ in range(3)]
        stack.enter_context(stack.enter_context(PrefectServer()).connected())
        one = night(candidates, folder / "one")
        print(f"one machine of {SLOTS} slots: {one:.2f}/s, efficiency {one * SECONDS / SLOTS:.3f}", flush=True)
        with several(engines, folder / "machines"):
            three = night(candidates, folder / "three")
        print(f"three machines: {three:.2f}/s, efficiency {three * SECONDS / SLOTS / 3:.3f}; ratio {three / one:.2f}")
        print("a machine that joins has all its slots busy after", end=" ")
        print(", ".join(f"{joining_s(engines[0]):.1f} s" for _ in range(3)))


if __name__ == "__main__":
    main()
