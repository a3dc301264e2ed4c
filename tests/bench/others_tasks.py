"""Tasks that others set, from clones of their repositories: which load, and what their start programs score.

    python -m tests.bench.others_tasks frontier-cs CLONE/algorithmic/problems --image NAME [--solutions FOLDER]
    python -m tests.bench.others_tasks algotune CLONE/AlgoTuneTasks [--sample N]
    python -m tests.bench.others_tasks start FOLDER [--sample N]
    python -m tests.bench.others_tasks process FOLDER [--sample N]
    python -m tests.bench.others_tasks load FOLDER

Each task of the sample, drawn with a seed, prints a row as soon as it is known; the last line counts them. A start
program scores as expected if it has 0 where it answers nothing (Frontier-CS), or 0.8 to 1.25 beside itself (AlgoTune).
With `process`, a row says whether programs run in a process of their own, or why not. With `--solutions`, one published
solution of each problem is scored, too. What is refused has its reason.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from overnight.flows.start.own_process import settle_process
from overnight.flows.start.sandboxes import image_of, open_sandboxes
from overnight.flows.start.trust import accept
from overnight.schemas.errors import OvernightError, UsageError
from overnight.schemas.problem import Problem
from overnight.tasks.problems.loading.load import load_problem

ABOUT_ONE = 0.8, 1.25


@dataclass(frozen=True)
class Row:
    """What became of one task: what it counts as, and the scores or the reason."""

    task: str
    came: str
    remark: str

    def __str__(self) -> str:
        return f"{self.task}: {self.came}: {self.remark}"


def score(problem: Problem, program: str | None = None) -> tuple[float | None, str]:
    """Return a program's mean score over the inputs, and why there is none; by default of the start program."""
    source = problem.specification.start_program if program is None else problem.specification.program(program)
    with open_sandboxes(problem, "train", seed=0, run_id="bench", programs=1) as sandbox:
        verdict = sandbox.evaluate(source)
    if not verdict.is_scored:
        return None, f"{verdict.outcome.value}: {' '.join(verdict.error.split())[:160]}"
    return fmean(verdict.scores), ""


def frontier_cs(path: Path, flags: dict[str, Any], solutions: Path | None) -> Row:
    """Score the program that answers nothing, and one published solution, drawn with the problem's name as seed."""
    problem = load_problem(path, flags)
    accept(problem, flags)
    start, reason = score(problem)
    if start is None:
        return Row(path.name, "fails", reason)
    remark = f"nothing scores {start:.4g}"
    found = sorted(solutions.glob(f"{path.name}/*.cpp")) if solutions else []
    if found:
        chosen = random.Random(path.name).choice(found)
        points, reason = score(problem, chosen.read_text(encoding="utf-8", errors="replace"))
        remark += f", {chosen.name} {reason if points is None else f'{points:.4g}'}"
    return Row(path.name, "as expected" if start == 0 else "another score", remark)


def algotune(path: Path, flags: dict[str, Any], _: Path | None) -> Row:
    """Score the reference beside itself, on one input."""
    problem = load_problem(path, flags)
    problem = load_problem(path, flags | {"inputs": [list(problem.inputs["train"][0].args)]})
    accept(problem, flags)
    ratio, reason = score(problem)
    if ratio is None:
        return Row(path.name, "fails", reason)
    low, high = ABOUT_ONE
    return Row(path.name, "as expected" if low <= ratio <= high else "another score", f"speed-up {ratio:.3f}")


def start(path: Path, flags: dict[str, Any], _: Path | None) -> Row:
    """Score the start program of a task of any format."""
    problem = load_problem(path, flags)
    accept(problem, flags)
    found, reason = score(problem)
    return Row(path.name, "fails", reason) if found is None else Row(path.name, "scored", f"{found:.4g}")


def process(path: Path, flags: dict[str, Any], _: Path | None) -> Row:
    """Choose where the programs of a task run, by its start program."""
    problem = load_problem(path, flags)
    accept(problem, flags)
    image_of(problem)
    said: list[str] = []
    chosen = settle_process(problem, seed=0, run_id="bench", tell=said.append)[0]
    return Row(path.name, chosen.settings.command.process, said[0])


def load(path: Path, flags: dict[str, Any], _: Path | None) -> Row:
    """Load a task and nothing else."""
    return Row(path.name, "loads", f"{len(load_problem(path, flags).files)} files")


def row_of(kind: str, path: Path, flags: dict[str, Any], solutions: Path | None) -> Row:
    """Return the row of a task; an error of one is no end of the others."""
    began = time.monotonic()
    try:
        row = KINDS[kind](path, flags, solutions)
    except UsageError as error:
        row = Row(path.name, "refused", " ".join(error.message.split())[:160])
    except OvernightError as error:
        row = Row(path.name, "not tried", " ".join(error.message.split())[:160])
    return Row(row.task, row.came, f"{row.remark} ({time.monotonic() - began:.0f} s)")


KINDS = {"frontier-cs": frontier_cs, "algotune": algotune, "start": start, "process": process, "load": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image")
    parser.add_argument("--solutions", type=Path)
    parser.add_argument("--sample", type=int, help="number of tasks, by default all")
    parser.add_argument("--skip", type=int, default=0, help="number of tasks of the sample that were tried before")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9, help="time after which no further task is begun")
    given = parser.parse_args()
    flags: dict[str, Any] = {"sandbox": {"image": given.image}} if given.image else {}
    paths = sorted(path for path in given.folder.iterdir() if path.is_dir() and not path.name.startswith("_"))
    random.Random(given.seed).shuffle(paths)
    count, until = Counter[str](), time.monotonic() + given.seconds
    for path in paths[given.skip : given.sample]:
        if time.monotonic() > until:
            break
        row = row_of(given.kind, path, flags, given.solutions)
        count[row.came] += 1
        print(row, flush=True)
    print(f"{count.total()} of {len(paths)}: " + ", ".join(f"{number} {came}" for came, number in count.most_common()))


if __name__ == "__main__":
    main()
