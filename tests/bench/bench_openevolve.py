"""A whole night beside OpenEvolve on the same machine: candidates of 50 ms, models on loopback at 0 s and 1 s latency.

    python -m tests.bench.bench_openevolve COMMAND [--candidates 240] [--short]

COMMAND starts OpenEvolve in an environment of its own, such as `~/openevolve/.venv/bin/openevolve-run`. It evaluates in
its own processes, without isolation: 4 workers at no latency, as in its examples, and 32 at 1 s. Overnight evaluates in
its sandbox, with confirmations on and 64 samples in flight, and runs as the command `overnight run`.

Both ask the same model for the same task. One model seldom improves anything; each answer of the other is the best so
far. The rate counts candidates from the first request to the last evaluation; `process` is the time of the whole
process, start-up, final evaluation and end included.

`--short` is a night as a newcomer starts it: Overnight at its defaults, and with the samples in flight or the
answers of a prompt that a user would name, beside OpenEvolve with 4 and with 20 workers. It prints a table, with all
evaluations: those of the search, and Overnight's of the tuner and of confirmations.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench_night import INPUTS, RATE, SEARCH, SPECIFICATIONS
from tests.bench.loopback import MODELS

_WORKERS = {0.0: 4, 1.0: 32}
_IN_FLIGHT = {**{f"search.{name}": value for name, value in SEARCH.items()}, "sampling.concurrency": 64}

# Latency, OpenEvolve's workers, Overnight's settings.
_SHORT: tuple[tuple[float, int, Mapping[str, float | str]], ...] = (
    (0.0, 4, {}),
    (1.0, 4, {}),
    (1.0, 20, {"sampling.concurrency": 20}),
    (1.0, 20, {"sampling.concurrency": 20, "tuner.enabled": "true"}),
    (1.0, 4, {"search.samples": 1}),
)

_COUNTS = """
    SELECT count(*) FILTER (model <> 'builtin/tuner' AND wall_s > 0) AS search,
        coalesce(sum(evaluations), 0) + count(*) FILTER (model = 'builtin/tuner' AND wall_s > 0) AS tuner,
        count(*) FILTER (confirmed_score IS NOT NULL OR outcome = 'unconfirmed') AS confirmations
    FROM programs WHERE generation > 0
"""

_HEADER = """\
| latency | Overnight | evaluations: search, tuner, confirmations | OpenEvolve | evaluations | s | s | ratio | load |
|---|---|--:|---|--:|--:|--:|--:|--:|"""

_EVALUATOR = """\
import importlib.util, time

def evaluate(path):
    spec = importlib.util.spec_from_file_location("candidate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    score = module.evaluate(*{inputs!r})
    with open({log!r}, "a") as log:
        log.write(f"{{time.time()}}\\n")
    return {{"combined_score": score}}
"""


@dataclass(frozen=True)
class Result:
    """Result of one search.

    Attributes:
        candidates: Number of evaluated candidates.
        search_s: Seconds from the first request to the last evaluation.
        process_s: Seconds of the whole process.
        tuner: Evaluations of the tuner, its answers included.
        confirmations: Evaluations of confirmations.
    """

    candidates: int
    search_s: float
    process_s: float
    tuner: int = 0
    confirmations: int = 0

    @property
    def rate(self) -> float:
        """Candidates a second."""
        return self.candidates / self.search_s


class Model:
    """A model on loopback, in a process of its own, which tells when it was first asked."""

    def __init__(self, kind: str, latency_s: float, *style: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.loopback", str(latency_s), kind, *style],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.base = self._process.stdout.readline().strip()

    def end(self) -> float:
        """End it; return the time of the first request, seconds of the epoch."""
        out, _ = self._process.communicate()
        return float(out.split()[0])


def openevolve(command: list[str], kind: str, latency_s: float, workers: int, candidates: int, folder: Path) -> Result:
    """Run OpenEvolve for a number of iterations."""
    model = Model(kind, latency_s, "whole")
    program, log = SPECIFICATIONS[kind].read_text(), folder / "log"
    # Without Overnight's decorators, and with the marks of the part that evolves.
    program = program.replace("@funsearch.run\n", "").replace("import funsearch\n", "")
    program = program.replace("@funsearch.evolve\n", "# EVOLVE-BLOCK-START\n") + "# EVOLVE-BLOCK-END\n"
    (folder / "program.py").write_text(program)
    (folder / "evaluator.py").write_text(_EVALUATOR.format(inputs=INPUTS[kind], log=str(log)))
    config = {
        "max_iterations": candidates,
        "diff_based_evolution": False,
        "llm": {"primary_model": "test", "primary_model_weight": 1.0, "api_base": model.base, "api_key": "test"},
        "evaluator": {"parallel_evaluations": workers, "cascade_evaluation": False, "timeout": 60},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    files = [str(folder / name) for name in ("program.py", "evaluator.py")]
    begin = time.time()
    subprocess.run(
        [*command, *files, "--config", str(folder / "config.yaml"), "--output", str(folder / "out")],
        check=True,
        capture_output=True,
    )
    process_s, asked = time.time() - begin, model.end()
    times = [float(line) for line in log.read_text().split()]
    found = [at for at in times if at > asked]
    return Result(len(found), max(found) - asked, process_s)


def overnight(
    kind: str, latency_s: float, settings: Mapping[str, float | str], candidates: int, folder: Path
) -> Result:
    """Run a night of so many samples."""
    model = Model(kind, latency_s)
    flags = [flag for name, value in settings.items() for flag in ("--set", f"{name}={value}")]
    command = ["overnight", "run", str(SPECIFICATIONS[kind].resolve()), "--model", "openai/test"]
    more = ["--api-base", model.base, "--max-samples", str(candidates), "--history", str(folder / "history")]
    begin = time.time()
    subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:], *more, *flags],
        check=True,
        capture_output=True,
        cwd=folder,  # a project's own settings of Prefect would be read first
        env={**os.environ, "OPENAI_API_KEY": "test"},
    )
    process_s = time.time() - begin
    model.end()
    from overnight.tasks.history.database import Database

    database = Database(folder / "history")
    (row,), (counts,) = database.rows(RATE), database.rows(_COUNTS)
    return Result(counts["search"], row["seconds"], process_s, int(counts["tuner"]), counts["confirmations"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", type=shlex.split)
    parser.add_argument("--candidates", type=int, default=240)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    many = [(kind, (latency_s, workers, _IN_FLIGHT)) for kind in MODELS for latency_s, workers in _WORKERS.items()]
    if options.short:
        print(_HEADER)
    for kind, (latency_s, workers, settings) in [("improving", case) for case in _SHORT] if options.short else many:
        with tempfile.TemporaryDirectory() as folder:
            other, ours = Path(folder, "openevolve"), Path(folder, "overnight")
            other.mkdir()
            ours.mkdir()
            reference = openevolve(options.command, kind, latency_s, workers, options.candidates, other)
            found = overnight(kind, latency_s, settings, options.candidates, ours)
        line = _short_row if options.short else _line
        print(line(kind, latency_s, workers, settings, found, reference), flush=True)


def _short_row(
    _: str, latency_s: float, workers: int, settings: Mapping[str, float | str], found: Result, reference: Result
) -> str:
    ours = " ".join(f"`{name}={value}`" for name, value in settings.items()) or "defaults"
    return (
        f"| {latency_s:g} s | {ours} | {found.candidates}, {found.tuner}, {found.confirmations} | {workers} workers | "
        f"{reference.candidates} | {found.process_s:.1f} | {reference.process_s:.1f} | "
        f"{found.process_s / reference.process_s:.2f} | {os.getloadavg()[0]:.1f} |"
    )


def _line(
    kind: str, latency_s: float, workers: int, settings: Mapping[str, float | str], found: Result, reference: Result
) -> str:
    return (
        f"{kind}, latency {latency_s:g} s, {workers} workers, {settings or 'defaults'}: "
        f"Overnight {found.rate:.1f}/s ({found.candidates} candidates), "
        f"OpenEvolve {reference.rate:.1f}/s ({reference.candidates}); ratio {found.rate / reference.rate:.2f}; "
        f"process {found.process_s:.1f} s and {reference.process_s:.1f} s, "
        f"{found.process_s / reference.process_s:.2f} times"
    )


if __name__ == "__main__":
    main()
