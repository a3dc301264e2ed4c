"""Every built-in problem for a fixed small budget with the built-in model, as the table in `README.md` beside it.

    python -m tests.bench.bench_problems [SAMPLES [PROBLEM…]]

Each night has SAMPLES samples (480 unless said otherwise), or fewer where they take more than 40 seconds, and seed 1;
start-up and the final are counted apart. What is found is the night's best, on the training inputs and, where there are
any, on those held out.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.environment import prepare
from tasks.history.local_backend import LocalBackend

prepare()

from flows.cli.printing import score  # noqa: E402
from flows.create_run import create_run  # noqa: E402
from flows.prefect_server.embedded import PrefectServer  # noqa: E402
from flows.search import search  # noqa: E402
from flows.stop_conditions import StopConditions  # noqa: E402
from tasks.history.database import Database  # noqa: E402
from tasks.problems import find, names  # noqa: E402
from tasks.problems.loading.load import load_problem  # noqa: E402

SAMPLES, SECONDS, SEED = 480, 40.0, 1
NIGHT = """
    SELECT start_score, best_score, finalists, nights.samples AS samples,
        (SELECT epoch(max(ended_at) - min(started_at)) FROM generations WHERE run_id = $1 AND generation > 0) AS seconds
    FROM runs JOIN nights USING (run_id) WHERE run_id = $1
"""
COLUMNS = ("problem", "start", "without a model", "best known", "found", "held out", "samples", "seconds")


def spend(name: str, samples: int, history: Path) -> dict[str, Any]:
    """A night on one problem; its row."""
    path = find(name)
    create_run(load_problem(path), path, LocalBackend(history), seed=SEED, run_id=name)
    search(
        name, str(history), StopConditions(max_samples=samples, until=datetime.now(UTC) + timedelta(seconds=SECONDS))
    )
    return Database(history).rows(NIGHT.replace("$1", f"'{name}'"))[0]


def cells(name: str, night: dict[str, Any]) -> tuple[str, ...]:
    """One row of the table."""
    known = load_problem(find(name)).settings.known
    winner = night["finalists"][0]
    proven = ", proven" * known.proven
    return (
        f"`{name}`",
        score(night["start_score"]),
        score(known.honesty),
        f"{score(known.best)}{proven}",
        score(winner["train"]),
        score(winner["held_out"]),
        str(night["samples"]),
        f"{night['seconds'] or 0:.0f}",
    )


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    print(f"| {' | '.join(COLUMNS)} |\n|---|{'--:|' * (len(COLUMNS) - 1)}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, PrefectServer() as server, server.connected():
        for name in sys.argv[2:] or names():
            print(f"| {' | '.join(cells(name, spend(name, samples, Path(folder))))} |", flush=True)
    print(f"\nall in {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
