"""What a generation costs besides models and candidates: Prefect and the history, at the begin and at generation 200.

    python tests/bench/bench_generation.py [GENERATIONS]

One trivial candidate a generation. Overhead is the time from one commit to the next, less what the model and the
sandbox took. The growth is a ratio within the run, of medians over as many generations as are compacted at a time:
while files are compacted, a few generations take longer, wherever in the night that is.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from overnight.flows.environment import prepare
from overnight.tasks.history.local_backend import LocalBackend

prepare()

from overnight.flows.night.search import search  # noqa: E402
from overnight.flows.night.stop_conditions import StopConditions  # noqa: E402
from overnight.flows.prefect_server.embedded import PrefectServer  # noqa: E402
from overnight.flows.start.create_run import create_run  # noqa: E402
from overnight.tasks.history.compact import MIN_DURING_NIGHT  # noqa: E402
from overnight.tasks.history.database import Database  # noqa: E402
from overnight.tasks.problems.loading.load import load_problem  # noqa: E402

TOY = Path(__file__).parents[1] / "specifications/toy.py"
QUERY = """
    SELECT generation, epoch(g.ended_at - lag(g.ended_at) OVER (ORDER BY generation)) - latency - wall AS overhead
    FROM generations AS g
    JOIN (
        SELECT generation, max(latency_s) AS latency, sum(wall_s) AS wall FROM programs GROUP BY ALL
    ) USING (generation)
    WHERE generation > 0 ORDER BY generation
"""


def measure(generations: int, history: Path) -> list[float]:
    """Seconds of overhead of each generation from the second on."""
    settings = {"search": {"prompts": 1, "samples": 1}, "sandbox": {"slots": 1}}
    with PrefectServer() as server:
        create_run(load_problem(TOY, settings), TOY, LocalBackend(history), seed=1, run_id="bench")
        with server.connected():
            search("bench", str(history), StopConditions(generations=generations))
    return [row["overhead"] for row in Database(history).rows(QUERY) if row["overhead"] is not None]


def main() -> None:
    generations = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(generations, Path(folder))
    early, late = seconds[1 : 1 + MIN_DURING_NIGHT], seconds[-MIN_DURING_NIGHT:]
    for name, part in (("from generation 3 on", early), (f"until generation {generations}", late)):
        print(f"{name:26} median {statistics.median(part):.3f} s, worst {max(part):.3f} s a generation")
    print(f"all: median {statistics.median(seconds):.3f} s, mean {statistics.fmean(seconds):.3f} s")
    print(f"growth {statistics.median(late) / statistics.median(early):.2f} x")


if __name__ == "__main__":
    main()
