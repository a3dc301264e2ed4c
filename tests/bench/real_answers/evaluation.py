"""Children are evaluated again, in the sandbox, with their task's own evaluator from the clone.

A task directory is made of the clone's files in the store's folder, in the form that OpenEvolve and ShinkaEvolve have,
which Overnight runs. Verdicts are kept after each block, and what has one is not evaluated again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overnight.flows.start.sandboxes import open_sandboxes
from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.problems.loading.load import load_problem
from tests.bench.real_answers import sources, store
from tests.bench.real_answers.clones import CloneError, open_clone

_BLOCK = 4
"""Programs after whose verdicts the file is written."""


@dataclass(frozen=True)
class Task:
    """A task whose evaluator runs on a processor.

    Attributes:
        source: Name of the source that has its children.
        files: Path in the task directory: path in the clone; a folder with `/` at its end.
        settings: Settings, as in `overnight.toml`.
    """

    source: str
    files: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)


_LIMITS = {"limits": {"wall_s": 60.0, "memory_mib": 1024}}
_EXAMPLES = "openevolve_examples"
TASKS = {
    "prism": Task(
        "shinka",
        {"evaluator.py": f"{_EXAMPLES}/prism/evaluator.py", "initial_program.py": "examples/prism/initial.py"},
        _LIMITS,
    ),
    "txn_scheduling": Task(
        "shinka",
        {
            "evaluate.py": "examples/txn_scheduling/evaluate.py",
            "initial.py": "examples/txn_scheduling/initial.py",
            **{f"{_EXAMPLES}/txn_scheduling/{name}.py": f"{_EXAMPLES}/txn_scheduling/{name}.py"
               for name in ("txn_simulator", "workloads")},
        },
        _LIMITS,
    ),
    "telemetry_repair": Task(
        "shinka",
        {
            "evaluator.py": f"{_EXAMPLES}/telemetry_repair/evaluator.py",
            "initial_program.py": "examples/telemetry_repair/initial.py",
            **{f"ref_data/{name}": f"{_EXAMPLES}/telemetry_repair/ref_data/{name}"
               for name in ("evaluation_data.csv", "topology.json", "paths.json")},
        },
        {**_LIMITS, "dependencies": ["pandas"]},
    ),
    "circle_packing": Task(
        "openevolve",
        {
            "evaluator.py": "examples/circle_packing/evaluator.py",
            "initial_program.py": "examples/circle_packing/initial_program.py",
        },
        {**_LIMITS, "dependencies": ["scipy"]},
    ),
}  # fmt: skip
"""Tasks by problem. `eplb` needs torch, and LEVI's and EoH's rows have no parents: they are not evaluated again."""


def evaluate(folder: Path, clones: Path, problem: str, *, limit: int, seconds: float) -> str:
    """Evaluate children of a problem, and their parents, that have no verdict yet; return what was done.

    Args:
        folder: Folder of the store.
        clones: Folder of the clones.
        problem: Name of the problem.
        limit: Number of children that are looked at, drawn by the hash of their ids, always the same ones.
        seconds: Seconds after which no block is begun.

    Raises:
        CloneError: If the clone or a file of the task is missing.
    """
    loaded = load_problem(write_task(folder / "tasks" / problem, clones, problem), TASKS[problem].settings)
    kept = store.read(folder, store.EVALUATIONS)
    known = {row["body_hash"] for row in kept if row["problem"] == problem}
    wanted = [row for row in _wanted(folder, problem, limit) if row["body_hash"] not in known]
    begin = time.monotonic()
    done = 0
    if wanted:
        (file, _), *_ = loaded.specification.start_program.files
        bundles = [ProgramBundle(((file, row["body"]),)) for row in wanted]
        with (
            open_sandboxes(loaded, "train", seed=0, run_id="real-answers") as pool,
            ThreadPoolExecutor(_BLOCK) as threads,
        ):
            begin = time.monotonic()
            while done < len(wanted) and time.monotonic() - begin < seconds:
                block = slice(done, done + _BLOCK)
                verdicts = threads.map(pool.evaluate, bundles[block])
                kept += [
                    row_of(problem, row["body_hash"], one) for row, one in zip(wanted[block], verdicts, strict=True)
                ]
                store.write(folder / store.EVALUATIONS, kept, store.EVALUATION_SCHEMA)
                done = min(done + _BLOCK, len(wanted))
    return f"{problem}: {done} evaluated in {time.monotonic() - begin:.0f} s, {len(wanted) - done} left"


def _wanted(folder: Path, problem: str, limit: int) -> list[dict[str, Any]]:
    """Return the bodies of the first children, each after that of its parent; each text once."""
    query = "SELECT body, body_hash, parent, parent_hash FROM answers WHERE problem = ? AND source = ? AND body <> ''"
    children = store.rows(
        store.connect(folder), f"{query} ORDER BY md5(program_id) LIMIT {limit}", problem, TASKS[problem].source
    )
    texts: dict[str, str] = {}
    for child in children:
        if child["parent"]:
            texts.setdefault(child["parent_hash"], child["parent"])
        texts.setdefault(child["body_hash"], child["body"])
    return [{"body_hash": digest, "body": text} for digest, text in texts.items()]


def write_task(target: Path, clones: Path, problem: str) -> Path:
    """Write the task directory of a problem, and return it."""
    task = TASKS[problem]
    source = sources.SOURCES[task.source]
    clone = open_clone(clones, source.repository, source.commit)
    for (name, text), path in zip(clone.read(task.files.values()), task.files, strict=True):
        if text is None:
            raise CloneError(f"{problem}: expected {name} in {clone.path} at {clone.commit[:7]}; fetch all of it")
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text)
    return target


def row_of(problem: str, body_hash: str, verdict: Verdict) -> dict[str, Any]:
    """Return the row of a verdict; evaluators of other tools say 0 for what is invalid, and print why."""
    scored = verdict.is_scored and verdict.scores[0] > 0
    outcome = Outcome.BAD_SCORE if verdict.is_scored and not scored else verdict.outcome
    error = "" if scored else verdict.error or verdict.output[-2000:]
    score = verdict.scores[0] if scored else None
    what = {"problem": problem, "body_hash": body_hash, "outcome": outcome.value, "error": error}
    return {**what, "score": score, "wall_s": verdict.wall_s}
