"""What pruning makes of the winners of the built-in model: lines, nodes and held-out scores, before and after.

    python -m tests.bench.bench_pruning [--answers 480] [--seeds 7301-7306] [--evaluations 300] [PROBLEM…]

Searches are those of `bench_builtin`, in this process. The winner on the validation inputs is pruned as at the end of a
night, on the training and validation inputs; the held-out inputs only score both.
"""

from __future__ import annotations

import argparse
import signal
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from overnight.flows.cli.options import RunOptions
from overnight.flows.night.samples_in_flight import samples_in_flight
from overnight.schemas.problem import Problem, Split
from overnight.tasks.tune.bodies import parts_of
from overnight.tasks.tune.pruning import Pruning
from overnight.tasks.tune.python_edits import PythonText
from tests.bench.bench_builtin import MODEL, Evaluations, Search, stop

OWN = sorted(map(str, Path(__file__).with_name("pruning").glob("*.py")))
BUILT_IN = ["bin-packing-or", "bin-packing-weibull", "flash-cache", "optimizer-rule"]
_RESAMPLES = 10_000


def prune(problem: Problem, evaluations: Evaluations, body: str, limit: int) -> Pruning:
    """Prune a program as a night does, in this process."""
    both: tuple[Split, ...] = ("train", "validation")
    splits: list[Split] = [split for split in both if problem.inputs[split]]
    kept = {split: evaluations.scores(body, split) for split in splits}

    def keeps(bodies: Sequence[str]) -> list[bool]:
        return [all(_is_kept(evaluations.scores(one, split), kept[split]) for split in splits) for one in bodies]

    pruning = Pruning(problem.specification, body, keeps, problem.code_hash, limit)
    pruning.run()
    return pruning


def _is_kept(scores: Sequence[float], before: Sequence[float]) -> bool:
    return len(scores) == len(before) and all(one >= other for one, other in zip(scores, before, strict=True))


def sizes(problem: Problem, body: str) -> tuple[int, int]:
    """Return the lines of a program, and the nodes of its syntax tree."""
    (part,) = parts_of(problem.specification, body)
    return body.strip().count("\n") + 1, PythonText(part.text, part.spans).size[0]


def interval(values: Sequence[float]) -> str:
    """Return a mean with its 95 % interval by the bootstrap."""
    drawn = np.random.default_rng(0).choice(values, (_RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{np.mean(values):+.3g} [{low:+.3g}, {high:+.3g}]"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_pruning", description="Prune winners.")
    parser.add_argument("--answers", type=int, default=480, help="answers of the model")
    parser.add_argument("--seeds", default="7301-7306", help="first and last seed")
    parser.add_argument("--evaluations", type=int, default=300, help="limit on the evaluations of a pruning")
    parser.add_argument("--code", action="store_true", help="print the winners")
    parser.add_argument("problems", nargs="*", default=[*OWN, *BUILT_IN], help="names of problems, or files")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, stop)
    first, _, last = options.seeds.partition("-")
    print(
        "| problem | seed | lines | nodes | held out | held out, pruned | evaluations |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    gains = defaultdict[str, list[tuple[float, float, float]]](list)
    for name in options.problems:
        for seed in range(int(first), int(last or first) + 1):
            size = f"sampling.concurrency={samples_in_flight(options.answers)}"
            search = Search(name, seed, RunOptions(model=[MODEL], set=[size]).settings())
            search.run(options.answers)
            problem, body = search.problem, search.winner().body
            pruned = prune(problem, search.evaluations, body, options.evaluations)
            scores = [search.evaluations.score(one, "held_out") for one in (body, pruned.body)]
            before, after = (sizes(problem, one) for one in (body, pruned.body))
            if None not in scores:
                gains[problem.name].append((after[0] - before[0], after[1] / before[1] - 1.0, scores[1] - scores[0]))  # type: ignore[operator]
            cells = [problem.name, seed, f"{before[0]} → {after[0]}", f"{before[1]} → {after[1]}", *scores, pruned.used]
            print(f"| {' | '.join(f'{c:.6g}' if isinstance(c, float) else str(c) for c in cells)} |", flush=True)
            if options.code:
                print(f"{body}\n---\n{pruned.body}\n", flush=True)
    print("\n| problem | winners | lines | nodes, share | held out |\n|---|--:|--:|--:|--:|")
    for name, found in {**gains, "all": [one for each in gains.values() for one in each]}.items():
        lines, nodes, held_out = zip(*found, strict=True)
        print(f"| {name} | {len(found)} | {interval(lines)} | {interval(nodes)} | {interval(held_out)} |")


if __name__ == "__main__":
    main()
