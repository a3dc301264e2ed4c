"""Simulated problems as task directories of other systems, whose evaluators write down what they were given.

Scores are shifted so that 0 is that of a program that fails and every other one is above, as OpenEvolve expects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.simulated import landscape as landscapes
from tests.bench.simulated.problems import STATEMENT, SimulatedProblem

_JUDGE = '''

import ast
import hashlib
import time

LANDSCAPE = Landscape(**{landscape!r})


def judged(program_path):
    """Return the score of a program and an error, and write down when, which program, and the score."""
    score, error, name = float("nan"), "", "-"
    try:
        with open(program_path) as file:
            source = file.read()
        name = hashlib.sha256(ast.dump(ast.parse(source)).encode()).hexdigest()[:16]
        namespace = {{"__name__": "program"}}
        exec(compile(source, program_path, "exec"), namespace)
        score = LANDSCAPE.judge(namespace)
        with open({log!r} + "-" + name, "w") as file:
            file.write(source)
    except Exception as raised:
        error = f"{{type(raised).__name__}}: {{raised}}"
    with open({log!r}, "a") as log:
        log.write(f"{{time.monotonic()}} {{name}} {{score!r}}\\n")
    return (0.0 if error else score - LANDSCAPE.offset + LANDSCAPE.scale), error
'''

_OPENEVOLVE = """

from openevolve.evaluation_result import EvaluationResult


def evaluate(program_path):
    score, error = judged(program_path)
    return EvaluationResult({"combined_score": score}, {"stderr": error} if error else {})
"""

_SHINKA = """

def main():
    import argparse
    import json
    import os

    parser = argparse.ArgumentParser()
    parser.add_argument("--program_path")
    parser.add_argument("--results_dir")
    arguments = parser.parse_args()
    score, error = judged(arguments.program_path)
    metrics = {"combined_score": score, "public": {"score": score}, "private": {}}
    os.makedirs(arguments.results_dir, exist_ok=True)
    for name, content in (("metrics", metrics), ("correct", {"correct": not error, "error": error or None})):
        with open(os.path.join(arguments.results_dir, name + ".json"), "w") as file:
            json.dump(content, file)


if __name__ == "__main__":
    main()
"""


def write_openevolve(problem: SimulatedProblem, folder: Path, log: Path, llm: Mapping[str, Any], seed: int) -> None:
    """Write a task of OpenEvolve, with all settings at their defaults but for the model, the seed and the statement."""
    config = {
        "random_seed": seed,
        "prompt": {"system_message": STATEMENT},
        "llm": llm,
        "evaluator": {"cascade_evaluation": False},  # the evaluator has one stage
    }
    files = {
        "initial_program.py": problem.source(problem.start),
        "evaluator.py": _judge(problem, log) + _OPENEVOLVE,
        "config.yaml": json.dumps(config, indent=1),
    }
    _write(folder, files)


def write_shinka(problem: SimulatedProblem, folder: Path, log: Path) -> None:
    """Write a task of ShinkaEvolve; its settings stand in the command."""
    _write(folder, {"initial.py": problem.source(problem.start), "evaluate.py": _judge(problem, log) + _SHINKA})


def _judge(problem: SimulatedProblem, log: Path) -> str:
    source = Path(landscapes.__file__).read_text()
    return source + _JUDGE.format(landscape=problem.landscape._asdict(), log=str(log))


def _write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
