"""What a real model makes of Overnight's designs, beside OpenEvolve's: run it with your key, and send us the table.

    python -m tests.bench.real_model --model openai/gpt-5-mini --answers 200 --usd 4

It runs each design on four problems with the same number of answers, states first what that costs at most, and stops
each run at its part of it. The table is Markdown: best scores on the training and the held-out inputs, answers that
were scored, repeated or spent on repairs that scored nothing, tokens and USD. One run is no proof: give `--seeds 5` for
a range. `--openevolve COMMAND` adds OpenEvolve in an environment of its own, such as `~/oe/bin/openevolve-run`.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overnight.schemas.sampling_settings import Model
from overnight.tasks.history.database import Database
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.sample.provider import price_of

PROBLEMS = ("bin-packing-or", "bin-packing-weibull", "corner-free-set", "circle-packing-26")

DESIGNS: dict[str, tuple[str, ...]] = {
    "default": (),
    "one answer a prompt": ("search.samples=1",),
    "plain greedy": (
        *("search.algorithm={name='greedy', epsilon=0.0}", "search.operators=[]", "search.feedback=0"),
        *("search.ledger=0", "tuner.enabled=false"),
    ),
}
"""Settings of each design; a generation has as many answers in all of them."""

_TOKENS = 2_500
"""Prompt and completion tokens of an answer, from which the most is estimated where a price is known."""

_FIGURES = """
SELECT
    count(*) FILTER (generation > 0 AND proposer = 'prompt') AS answers,
    count(*) FILTER (generation > 0 AND proposer = 'prompt' AND outcome = 'scored') AS scored,
    count(*) FILTER (outcome = 'duplicate' AND proposer = 'prompt') AS repeats,
    count(*) FILTER (operator = 'repair' AND outcome <> 'scored') AS lost_repairs,
    sum(tokens_in + tokens_out) AS tokens,
    sum(cost_usd) AS usd,
    max(score) AS best,
    max(score) FILTER (generation = 0) AS start
FROM programs WHERE run_id = ?
"""


@dataclass(frozen=True)
class Result:
    """A run of one design.

    Attributes:
        best: Best score on the training inputs.
        held_out: Score of its winner on the held-out inputs; `None` without any.
        figures: What `_FIGURES` returns; empty for another tool.
    """

    problem: str
    design: str
    best: float
    held_out: float | None
    figures: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison and write its table."""
    given = _parser().parse_args(arguments)
    problems = given.problems.split(",")
    runs = (len(DESIGNS) + bool(given.openevolve)) * given.seeds * len(problems)
    each = given.usd / runs
    _say(f"{runs} runs of {given.answers} answers: {given.usd:g} USD at most, {each:.3g} USD each")
    if price_of(Model(name=given.model, api_base=given.api_base)) is None:
        _say("the price of its tokens is unknown, so only the number of answers limits them")
        each = None
    if given.openevolve:
        _say("OpenEvolve keeps no budget: its number of answers alone limits it")
    results = []
    with tempfile.TemporaryDirectory(prefix="overnight-bench-") as folder:
        for problem in problems:
            for design, settings in DESIGNS.items():
                for seed in range(given.seeds):
                    results.append(_run(given, problem, design, settings, seed, Path(folder), each))
                    _say(f"{problem}, {design}, seed {seed}: {results[-1].best:.6g}")
            for seed in range(given.seeds if given.openevolve else 0):
                results.append(_openevolve(given, problem, seed, Path(folder)))
                _say(f"{problem}, OpenEvolve, seed {seed}: {results[-1].best:.6g}")
    given.out.write_text(table(given.model, given.answers, results), encoding="utf-8")
    _say(f"wrote {given.out}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.real_model", description=about)
    parser.add_argument("--model", required=True, help="LiteLLM model string")
    parser.add_argument("--api-base", help="address of an OpenAI-compatible server")
    parser.add_argument("--answers", type=int, default=200, help="answers of each run")
    parser.add_argument("--usd", type=float, required=True, help="most USD of all runs together")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each design on each problem")
    parser.add_argument("--problems", default=",".join(PROBLEMS), help="names with commas")
    parser.add_argument("--openevolve", help="command of OpenEvolve, to compare with")
    parser.add_argument("--out", type=Path, default=Path("real-model.md"), help="file of the table")
    return parser


def _run(
    given: argparse.Namespace,
    problem: str,
    design: str,
    settings: Sequence[str],
    seed: int,
    folder: Path,
    usd: float | None,
) -> Result:
    """Run one design as its user would, and read what came of it."""
    history = folder / f"{problem}-{design}-{seed}".replace(" ", "-")
    words = ["run", problem, "--model", given.model, "--max-samples", str(given.answers), "--seed", str(seed)]
    words += ["--history", str(history), *(["--api-base", given.api_base] if given.api_base else [])]
    words += [*(["--budget", f"{usd:.6f}"] if usd else []), *(word for one in settings for word in ("--set", one))]
    command = [sys.executable, "-c", "from overnight.flows.cli.main import main; main()", *words]
    _call(command)
    database = Database(history)
    (run,) = database.rows("SELECT run_id FROM runs")
    (figures,) = database.rows(_FIGURES, [run["run_id"]])
    (night,) = database.rows("SELECT finalists FROM nights ORDER BY night DESC LIMIT 1")
    finalists = night["finalists"] or ()
    return Result(problem, design, figures["best"], finalists[0]["held_out"] if finalists else None, figures)


def _call(command: Sequence[str], result: Path | None = None) -> None:
    """Run a command, and show what it said if it fails, unless it left a result."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not (result and result.exists()):
        sys.exit(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")


_EVALUATOR = """\
import importlib.util

def evaluate(path):
    spec = importlib.util.spec_from_file_location("candidate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scores = [float(module.{run}(*args)) for args in {inputs!r}]
    score = sum(scores) / len(scores)
    with open({log!r}, "a") as log:
        log.write(f"{{score}}\\n")
    return {{"combined_score": score}}
"""


def openevolve_program(path: Path) -> str:
    """Return a specification as OpenEvolve's start program: the evolved function between marks, and what scores it.

    Settings, inputs, the baseline and pictures stay out: a model that is shown the best rule that is known without a
    model, or the seeds of the held-out inputs, is no fair comparison.
    """
    specification = read_specification(path.read_text(encoding="utf-8"), path.name)
    lines, nodes = specification.text.split("\n"), ast.parse(specification.text).body
    functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    kept, new = set[str](), {specification.run, *specification.evolved}
    while new:
        kept |= new
        words = {one.id for name in new for one in ast.walk(functions[name]) if isinstance(one, ast.Name)}
        new = (words & functions.keys()) - kept
    parts = list[str]()
    for node in nodes:
        text = "\n".join(lines[node.lineno - 1 : node.end_lineno])  # a function's marks are above its first line
        if isinstance(node, ast.FunctionDef):
            if node.name in specification.evolved:
                parts.append(f"\n\n# EVOLVE-BLOCK-START\n{text}\n# EVOLVE-BLOCK-END")
            elif node.name in kept:
                parts.append(f"\n\n{text}")
        elif text != "import funsearch":
            parts.append(text)
    return "\n".join(parts) + "\n"


def _openevolve(given: argparse.Namespace, problem: str, seed: int, folder: Path) -> Result:
    """Run OpenEvolve on the same problem, in its own environment and processes: its programs are not confined."""
    loaded = load_problem(find(problem))
    place = folder / f"{problem}-openevolve-{seed}"
    place.mkdir()
    program = openevolve_program(find(problem))
    inputs = [call.args for call in loaded.inputs["train"]]
    log = place / "log"
    evaluator = _EVALUATOR.format(run=loaded.specification.run, inputs=inputs, log=str(log))
    llm = {
        "primary_model": given.model.partition("/")[2],
        "primary_model_weight": 1.0,
        **({"api_base": given.api_base} if given.api_base else {}),
        "api_key": os.environ.get("OPENAI_API_KEY", "none"),
    }
    config = {"max_iterations": given.answers, "random_seed": seed, "llm": llm}
    for name, content in (("program.py", program), ("evaluator.py", evaluator), ("config.yaml", json.dumps(config))):
        (place / name).write_text(content, encoding="utf-8")
    files = [str(place / name) for name in ("program.py", "evaluator.py")]
    more = ["--config", str(place / "config.yaml"), "--output", str(place / "out")]
    _call([given.openevolve, *files, *more], log)
    return Result(problem, "OpenEvolve", max(map(float, log.read_text().split())), None, {})


def table(model: str, answers: int, results: Sequence[Result]) -> str:
    """Return the table: a row for each problem and design, means over seeds, with their range."""
    lines = [
        f"`python -m tests.bench.real_model --model {model} --answers {answers}`",
        "",
        "| problem | design | best | held out | scored | repeats | lost repairs | tokens | USD |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for problem, design in dict.fromkeys((one.problem, one.design) for one in results):
        mine = [one for one in results if (one.problem, one.design) == (problem, design)]
        figures = [one.figures for one in mine if one.figures]
        cells = [_spread([one.best for one in mine]), _spread([one.held_out for one in mine])]
        cells += [_share(figures, name) for name in ("scored", "repeats", "lost_repairs")]
        cells += [_spread([one["tokens"] for one in figures]), _spread([one["usd"] for one in figures])]
        lines.append(f"| {problem} | {design} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    spread = f" ({min(known):.6g} to {max(known):.6g})" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.6g}{spread}"


def _share(figures: Sequence[dict[str, Any]], name: str) -> str:
    total = sum(one["answers"] for one in figures)
    return f"{sum(one[name] for one in figures) / total:.1%}" if total else "–"


if __name__ == "__main__":
    sys.exit(main())
