"""Start and end of a night beside version 0.1: seconds to the first line and prompt, and from its end to exit.

    python -m tests.bench.bench_start [--rounds 5]

Both versions run `overnight run` as their user would, in turns: one generation of `bin-packing-or`, a model on loopback
that answers after 0.2 s, the embedded Prefect server with a database that is there already. Version 0.1 is built in a
temporary folder, from this repository's history and with its own lock file. The end of a night is when its row was
written for the last time, after the final evaluation. The table has medians and, for the ratios, all rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Provider

ROOT = Path(__file__).parents[2]
_SETTINGS = ("--generations", "1", "--set", "search.prompts=4", "--seed", "1", "--model", "openai/x")


@dataclass(frozen=True)
class Night:
    """Seconds from the start of the command, and from the end of the night to the end of the process."""

    first_line: float
    first_prompt: float
    end_to_exit: float


def build_first_version(folder: Path) -> Path:
    """Build version 0.1 with its own lock file; return its command."""
    find = ["git", "log", "--reverse", "--format=%H", "-S## 0.1.0 (", "--", "CHANGELOG.md"]
    commit = subprocess.run(find, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[0]
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-C", folder], input=archive, check=True)
    subprocess.run(["make", "environment"], cwd=folder, check=True, stdout=sys.stderr)
    return folder / ".venv/bin/overnight"


def measure(command: Path, folder: Path) -> Night:
    """Run a night of one version in a folder, which keeps its Prefect database."""
    history = Path(tempfile.mkdtemp(dir=folder))
    environment = {**os.environ, "PREFECT_HOME": str(folder / "prefect"), "OVERNIGHT_HISTORY": str(history)}
    with Provider() as provider:
        provider.latency_s = 0.2
        begin = time.monotonic()
        process = subprocess.Popen(
            [command, "run", "bin-packing-or", *_SETTINGS, "--api-base", provider.api_base],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        process.stdout.readline()
        first_line = time.monotonic() - begin
        output = process.stdout.read().decode()
        if process.wait():
            raise SystemExit(f"{command} failed:\n{output}")
        ended = time.time()
        first_prompt = provider.request_times[0] - begin
    (row,) = Database(history).rows("FROM nights")
    return Night(first_line, first_prompt, ended - row["ended_at"].timestamp())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_start")
    parser.add_argument("--rounds", type=int, default=5, help="nights of each version, one more is not counted")
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="overnight-start-") as name:
        folders = {version: Path(name) / version for version in ("0.1", "now")}
        for folder in folders.values():
            folder.mkdir()
        (Path(name) / "source").mkdir()
        commands = {"0.1": build_first_version(Path(name) / "source"), "now": ROOT / ".venv/bin/overnight"}
        nights: dict[str, list[Night]] = {version: [] for version in commands}
        for number in range(rounds + 1):
            for version, command in commands.items():
                night = measure(command, folders[version])
                print(f"{number} {version} {night}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
                if number:  # the first one of each creates the database
                    nights[version].append(night)
    print_table(nights)


def print_table(nights: dict[str, list[Night]]) -> None:
    print("| seconds | version 0.1 | now | ratio | of rounds |\n|---|--:|--:|--:|---|")
    for label, field in (
        ("to the first line", "first_line"),
        ("to the first prompt", "first_prompt"),
        ("from the night's end to exit", "end_to_exit"),
    ):
        before, now = ([getattr(night, field) for night in nights[version]] for version in ("0.1", "now"))
        ratios = sorted(after / was for was, after in zip(before, now, strict=True))
        print(
            f"| {label} | {median(before):.2f} | {median(now):.2f} | {median(ratios):.2f} | "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )


if __name__ == "__main__":
    main()
