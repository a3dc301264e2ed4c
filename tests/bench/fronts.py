"""Fronts that the built-in model finds on problems with two objectives, beside those of NSGA-II.

    python -m pip install pymoo
    python -m tests.bench.fronts [--answers 480] [--seeds 1-8] [--set objectives.share=0.3] [PROBLEM…]

The systems have as many answers, or evaluations, each and the same start: `pareto` and `score` are searches with that
preference, in this process (`bench_builtin`), without the tuner; an answer counts if it is a duplicate or no program,
too. NSGA-II is pymoo's. It searches no programs but numbers, which a rule of the same form as the start program takes
(`GENOMES`). The front is of all that a system evaluated.

What is compared is the hypervolume, as a share of that of a reference front: the exact one of `checkpointing`, and what
was found by any system and seed together of `flash-cache`. Objectives are in units of their range over it, and the
reference point is a tenth of that below. Differences of two systems are paired by seed: interquartile means, with a
95 % interval from a bootstrap over seeds.
"""

# pymoo is no dependency of ours.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overnight.flows.cli.options import RunOptions
from overnight.flows.night.samples_in_flight import samples_in_flight
from overnight.flows.report.comparison_data import shares
from overnight.schemas.objectives import Objectives
from overnight.tasks.select.front import Goals, nondominated
from tests.bench.bench_builtin import MODEL, Search, stop
from tests.bench.simulated.comparison import difference
from tests.bench.simulated.tables import table
from tests.problems.library import execute, load, steps_of_revolve

SYSTEMS = ("pareto", "score", "nsga2")
_STEPS = 100
_POPULATION = 40


@dataclass(frozen=True)
class Genome:
    """Numbers that NSGA-II searches.

    Attributes:
        low: Least value of each.
        high: Highest value of each.
        start: Those that do what the start program does.
        function: Name of the evolved function that they stand for.
        rule: Makes this function of them.
    """

    low: Sequence[float]
    high: Sequence[float]
    start: Sequence[float]
    function: str
    rule: Callable[[NDArray[Any]], Callable[..., Any]]

    @property
    def is_whole(self) -> bool:
        """Whether they are whole numbers."""
        return all(isinstance(one, int) for one in (*self.low, *self.high))


def _split(numbers: NDArray[Any]) -> Callable[..., Any]:
    """Return a rule that keeps so many states, and looks up where to split a segment of each length."""
    return lambda length, held: numbers[length - 1] if held < numbers[0] else 0


def _worth(numbers: NDArray[Any]) -> Callable[..., Any]:
    """Return a rule of three weights, and what is added for an object that is not in the cache."""
    of_idle, of_gap, of_count, of_new = numbers
    return lambda idle, gap, count: (
        of_idle * np.log1p(idle) + of_gap * np.log1p(gap) + of_count * np.log(count) + of_new * (idle == 0)
    )


GENOMES = {
    "checkpointing": Genome(
        [0] * _STEPS,
        [_STEPS - 2, *range(1, _STEPS)],
        [3, *(length // 2 for length in range(2, _STEPS + 1))],
        "split",
        _split,
    ),
    "flash-cache": Genome([-1.0] * 4, [1.0] * 4, [-1.0, 0.0, 0.0, 0.0], "worth", _worth),
}


def nsga2(problem: str, objectives: Objectives, answers: int, seed: int) -> list[Goals]:
    """Return what the rules of NSGA-II reach."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.optimize import minimize

    genome, program, reached = GENOMES[problem], execute(problem), list[Goals]()
    inputs = [call.args[0] for call in load(problem).inputs["train"]]

    class Numbers(ElementwiseProblem):
        def _evaluate(self, x: NDArray[Any], out: dict[str, Any], *_: Any, **__: Any) -> None:
            program[genome.function] = genome.rule(x)
            found = [program["evaluate"](one) for one in inputs]
            means = {name: fmean(one[name] for one in found) for name in found[0]}
            reached.append(objectives.goals(means["score"], means))
            out["F"] = [-one for one in reached[-1]]

    rng, low, high = np.random.default_rng(seed), np.array(genome.low), np.array(genome.high)
    first = low + rng.random((_POPULATION, len(low))) * (high - low)
    first[0] = genome.start
    whole: dict[str, Any] = {"vtype": float, "repair": RoundingRepair()} if genome.is_whole else {}
    algorithm = NSGA2(
        pop_size=_POPULATION,
        sampling=np.round(first).astype(int) if whole else first,
        crossover=SBX(**whole),
        mutation=PM(**whole),
    )
    numbers = Numbers(n_var=len(low), n_obj=1 + len(objectives.metrics), xl=low, xu=high)
    minimize(numbers, algorithm, ("n_eval", answers), seed=seed)
    return reached[:answers]


def built_in(problem: str, objectives: Objectives, answers: int, seed: int, given: Sequence[str]) -> list[Goals]:
    """Return what the programs of a search with the built-in model reach."""
    size = f"sampling.concurrency={samples_in_flight(answers)}"
    settings = RunOptions(model=[MODEL], set=[size, "tuner.enabled=false", *given]).settings()
    search = Search(problem, seed, settings)
    search.run(answers)
    return [objectives.goals(one.score, one.metrics) for one in search.scored]


def front(goals: Sequence[Goals]) -> list[Goals]:
    """Return those that no other dominates."""
    return [one for one, stays in zip(goals, nondominated(goals), strict=True) if stays]


def compare(problem: str, systems: Sequence[str], answers: int, seeds: range, given: Sequence[str]) -> str:
    """Let all systems search, and return a table of their fronts."""
    objectives = load(problem).settings.objectives
    fronts: dict[tuple[str, int], list[Goals]] = {}
    for seed in seeds:
        for system in systems:
            name, *changes = system.split("+")
            if name == "nsga2":
                reached = nsga2(problem, objectives, answers, seed)
            else:
                changes = [f"objectives.preference={name}", *given, *changes]
                reached = built_in(problem, objectives, answers, seed, changes)
            fronts[system, seed] = front(reached)
            sys.stderr.write(f"{problem} {system} {seed}: {len(fronts[system, seed])} of {len(reached)}\n")
    everything = front([goals for one in fronts.values() for goals in one])
    if problem == "checkpointing":
        everything = [(-float(steps_of_revolve(_STEPS, states)), -float(states)) for states in range(_STEPS - 1)]
    found = shares({"": everything, **{f"{system} {seed}": one for (system, seed), one in fronts.items()}}, everything)
    lacking = {
        system: {(problem, 0, seed): 1 - found[f"{system} {seed}"] / found[""] for seed in seeds} for system in systems
    }
    rows = []
    for system, mine in lacking.items():
        least = {goals for seed in seeds for goals in fronts[system, seed]} & set(everything)
        row = [problem, system, f"{1 - fmean(mine.values()):.3f}"]
        for other in systems:
            one = difference(mine, lacking[other])
            row.append("–" if other == system else f"{-one.iqm:+.3f} [{-one.high:+.3f}, {-one.low:+.3f}]")
        size = fmean(len(fronts[system, seed]) for seed in seeds)
        rows.append([*row, f"{size:.1f}", f"{len(least)} of {len(everything)}"])
    header = ["problem", "system", "hypervolume", *(f"over {name} [95 %]" for name in systems)]
    return table([*header, "on a front", "of the reference, by any seed"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fronts", description="Compare fronts.")
    parser.add_argument("--answers", type=int, default=480, help="answers, or evaluations, of each search")
    parser.add_argument("--seeds", default="1-8", help="first and last seed")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="such as pareto,pareto+objectives.share=0.3,nsga2")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the built-in model's")
    parser.add_argument("problems", nargs="*", default=list(GENOMES), help="names of problems")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, stop)
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    for problem in options.problems:
        print(compare(problem, options.systems.split(","), options.answers, seeds, options.set), "\n", flush=True)


if __name__ == "__main__":
    main()
