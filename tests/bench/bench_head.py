"""What the head alone can do: whole nights whose model and sandbox answer at once.

    python -m tests.bench.bench_head [--candidates 2000]

The sandbox scores a program without running it, so that what is left is sampling, parsing, planning, Prefect and the
history. Milliseconds are processor time of this process and of the Prefect server's, a candidate.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from overnight.flows.environment import prepare
from overnight.tasks.history.local_backend import LocalBackend

prepare()

import overnight.flows.night.open_run  # noqa: E402
from overnight.flows.night.search import search  # noqa: E402
from overnight.flows.night.stop_conditions import StopConditions  # noqa: E402
from overnight.flows.prefect_server.embedded import EmbeddedServer, using_server  # noqa: E402
from overnight.flows.start.create_run import create_run  # noqa: E402
from overnight.schemas.bundle import Source  # noqa: E402
from overnight.schemas.completion_source import Record, Sample  # noqa: E402
from overnight.schemas.job import Job  # noqa: E402
from overnight.schemas.outcome import Outcome, Verdict  # noqa: E402
from overnight.schemas.program import Completion  # noqa: E402
from overnight.tasks.evaluate.sandbox import Sandbox  # noqa: E402
from overnight.tasks.history.database import Database  # noqa: E402
from overnight.tasks.problems.loading.load import load_problem  # noqa: E402
from tests.bench.processor_time import processor_s, processor_s_of  # noqa: E402

TOY = Path(__file__).parents[1] / "specifications/fifty.py"
ROUNDS = ((12, 4, None, 16), (12, 4, None, 400), (50, 4, None, 400), (250, 4, None, 400), (250, 4, 64, 1024))
"""Prompts and samples of a generation, prompts of a task at most, and samples in flight."""

RATE = """
    SELECT count(*) AS candidates, epoch(max(g.ended_at) - min(g.started_at)) AS seconds
    FROM programs JOIN generations AS g USING (run_id, generation) WHERE generation > 0
"""


class InstantModel:
    """A `CompletionSource` that answers each prompt at once with a line that was not there before."""

    def __init__(self) -> None:
        self._numbers = random.Random(1)

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        """See `CompletionSource.submit`."""
        answers = [self._answer(sample) for sample in wanted]
        record(answers)
        done = Future[list[Completion]]()
        done.set_result(answers)
        return done

    def _answer(self, sample: Sample) -> Completion:
        line = f"return -(room - item) * {self._numbers.random():.9f} + {self._numbers.random():.9f}"
        version = len(sample.prompt.parent_ids)
        text = f"```python\ndef priority_v{version}(item: float, room: float) -> float:\n    {line}\n```"
        return Completion(
            prompt=sample.prompt.index,
            sample=sample.number,
            prompt_hash=sample.prompt.hash,
            text=text,
            model="bench/instant",
            tokens_in=1,
            tokens_out=1,
            cost_usd=0.0,
            latency_s=0.0,
            finish_reason="stop",
            asked_at=datetime.now(UTC),
        )


class InstantSandbox(Sandbox):
    """A `Sandbox` that scores each program at once, at random and seldom better than before."""

    def __init__(self) -> None:
        super().__init__(Job("", ()))
        self._numbers = random.Random(1)
        self._lock = threading.Lock()

    def run(self, source: Source) -> Verdict:
        """See `Sandbox.run`."""
        del source
        with self._lock:
            return Verdict(Outcome.SCORED, (-60.0 - 20.0 * self._numbers.random(),))

    def close(self) -> None:
        """See `Sandbox.close`."""


@dataclass(frozen=True)
class Rate:
    """Candidates a second, and milliseconds of processor time of a candidate, here and on the Prefect server."""

    candidates_s: float
    head_ms: float
    server_ms: float


def night(shape: tuple[int, int, int | None, int], candidates: int, history: Path, server: int) -> Rate:
    """Run a night of so many candidates."""
    prompts, samples, batch, window = shape
    settings = {
        "search": {"prompts": prompts, "samples": samples},
        "sampling": {"batch": batch, "concurrency": window},
        "sandbox": {"confirm": "never"},
    }
    problem = load_problem(TOY, settings)
    create_run(problem, TOY, LocalBackend(history), seed=1, run_id="bench")
    own, its = processor_s(), processor_s_of(server)
    search("bench", str(history), StopConditions(generations=-(-candidates // (prompts * samples))))
    own, its = processor_s() - own, processor_s_of(server) - its
    (row,) = Database(history).rows(RATE)
    count = row["candidates"]
    return Rate(count / row["seconds"], 1000 * own / count, 1000 * its / count)


class _Server(EmbeddedServer):
    """A server that answers."""

    def __init__(self) -> None:
        super().__init__()
        self.wait()

    def close(self) -> None:
        self.stop()


def _instant(*_: object, **__: object) -> InstantSandbox:
    return InstantSandbox()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_head")
    parser.add_argument("--candidates", type=int, default=2000, help="of each night")
    options = parser.parse_args()
    model = InstantModel()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(_Server()) as server,
        using_server(server),
        patch.object(overnight.flows.night.open_run, "open_sandboxes", _instant),
        patch.object(overnight.flows.night.open_run, "open_confirmations", _instant),
        patch.object(overnight.flows.night.open_run, "RoutedCompletions", lambda *_: model),
    ):
        for number, shape in enumerate((ROUNDS[0], *ROUNDS)):
            rate = night(shape, options.candidates, Path(folder) / str(number), server.pid)
            if number:  # the first warms up
                print(
                    "{} x {}, sampling.batch {}, sampling.concurrency {}: ".format(*shape)
                    + f"{rate.candidates_s:.0f}/s; "
                    f"head {rate.head_ms:.1f} ms, server {rate.server_ms:.1f} ms",
                    flush=True,
                )


if __name__ == "__main__":
    main()
