"""Every built-in problem for a minute with the built-in model, as the table in `README.md` beside it.

    python -m tests.bench.bench_problems [--seconds 60] [--samples N] [--seeds 2] [PROBLEM…]

Start-up and the final are counted apart from the seconds of a night. What is found is the night's best, chosen on
validation inputs where there are any: its score on the training inputs, for each seed, and the mean over the seeds on
the inputs held out. It reaches the line if it scores no less, on the training inputs, than what needs no model. On a
busy machine a minute is fewer samples: give a number of them and enough seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from overnight.flows.environment import prepare
from overnight.tasks.history.local_backend import LocalBackend

prepare()

from overnight.flows.cli.printing import score  # noqa: E402
from overnight.flows.night.search import search  # noqa: E402
from overnight.flows.night.stop_conditions import StopConditions  # noqa: E402
from overnight.flows.prefect_server.embedded import PrefectServer  # noqa: E402
from overnight.flows.start.create_run import create_run  # noqa: E402
from overnight.tasks.history.database import Database  # noqa: E402
from overnight.tasks.problems import find, names  # noqa: E402
from overnight.tasks.problems.loading.load import load_problem  # noqa: E402

NIGHT = """
    SELECT start_score, finalists, nights.samples AS samples FROM runs JOIN nights USING (run_id) WHERE run_id = '{}'
"""
COLUMNS = ("problem", "start", "without a model", "best known", "found", "held out", "samples", "reach the line")


def spend(name: str, seed: int, history: Path, *, seconds: float, samples: int | None) -> dict[str, Any]:
    """A night on one problem; its row."""
    path, run = find(name), f"{name}-{seed}"
    create_run(load_problem(path), path, LocalBackend(history), seed=seed, run_id=run)
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    search(run, str(history), StopConditions(max_samples=samples, until=until))
    return Database(history).rows(NIGHT.format(run))[0]


def reaches_the_line(name: str, night: dict[str, Any]) -> bool:
    """Whether a night's best is at least as good, up to rounding, as what needs no model."""
    line = load_problem(find(name)).settings.known.honesty
    return line is None or night["finalists"][0]["train"] >= line - 1e-6 * abs(line)


def cells(name: str, nights: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """One row of the table."""
    known = load_problem(find(name)).settings.known
    winners = [night["finalists"][0] for night in nights]
    held_out = [winner["held_out"] for winner in winners if winner["held_out"] is not None]
    return (
        f"`{name}`",
        score(nights[0]["start_score"]),
        score(known.honesty),
        f"{score(known.best)}{', proven' * known.proven}",
        " / ".join(score(winner["train"]) for winner in winners),
        score(fmean(held_out) if held_out else None),
        " / ".join(str(night["samples"]) for night in nights),
        f"{sum(reaches_the_line(name, night) for night in nights)} of {len(nights)}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_problems", description="Try built-in problems.")
    parser.add_argument("--seconds", type=float, default=60, help="seconds of a night")
    parser.add_argument("--samples", type=int, help="samples after which a night ends sooner")
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds")
    parser.add_argument("problems", nargs="*", help="names of problems; default: all")
    options = parser.parse_args()
    chosen, best = options.problems or names(), 0
    print(f"| {' | '.join(COLUMNS)} |\n|---|{'--:|' * (len(COLUMNS) - 1)}", flush=True)
    begin = time.monotonic()
    budget = {"seconds": options.seconds, "samples": options.samples}
    with tempfile.TemporaryDirectory() as folder, PrefectServer() as server, server.connected():
        for name in chosen:
            nights = [spend(name, seed, Path(folder), **budget) for seed in range(1, options.seeds + 1)]
            best += any(reaches_the_line(name, night) for night in nights)
            print(f"| {' | '.join(cells(name, nights))} |", flush=True)
    print(f"\n{best} of {len(chosen)} reach the line; all in {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
