"""Search algorithms on a simulated model: a small comparison in one process, without containers and without Prefect.

    python -m tests.bench.search [--answers 600] [--seeds 5] [--personas 4] [--algorithms greedy,islands,tree]
        [--problems F1,F3-a] [--set feedback=2000]

Each algorithm runs on each problem with each persona and seed, with the product's planning, prompts, parsing and
defaults; nothing is confirmed, and programs are evaluated in this process. What is compared is the mean over the
answers of log10 of the gap to the optimum, paired with `greedy` by problem, persona and seed: below 0 is better than
`greedy`. The interval has 95 %, from a hierarchical bootstrap over problems, personas and seeds. It shows whether a
mechanism works as intended on these problems, not how much a real model gains.

An answer takes 1.3 ms of processor time; by default there are a million of them.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any, get_args

from schemas.algorithm_settings import AlgorithmSettings, AnyAlgorithm
from tests.bench.simulated.comparison import Key, Outcome, difference
from tests.bench.simulated.loop import SearchLoop
from tests.bench.simulated.model import SimulatedModel
from tests.bench.simulated.personas import persona_of
from tests.bench.simulated.problems import names_of, problem_named

REFERENCE = "greedy"

_KINDS: tuple[type[AlgorithmSettings], ...] = get_args(get_args(AnyAlgorithm)[0])

_HEADER = (
    "algorithm",
    "log10 gap",
    "gap at end",
    "depth",
    "unscored",
    "duplicates",
    "difference [95 %]",
    "cells agree",
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    begin, results = time.monotonic(), {}
    for algorithm in dict.fromkeys([REFERENCE, *options.algorithms.split(",")]):
        results[algorithm] = outcomes(algorithm, options)
        sys.stderr.write(f"{algorithm}: {time.monotonic() - begin:.0f} s\n")
    families = sorted({name[:2] for name in names_of(options.problems)})
    print(f"{options.answers} answers, {len(results[REFERENCE])} searches for each algorithm\n")
    print(table([row(name, results) for name in results]))
    for family in families if len(families) > 1 else ():
        print(f"\n{family}\n\n" + table([row(name, results, family) for name in results]))


def outcomes(algorithm: str, options: argparse.Namespace) -> dict[Key, Outcome]:
    """Run an algorithm on all problems with all personas and seeds."""
    search = _search(algorithm, options)
    keys = itertools.product(names_of(options.problems), range(options.personas), range(options.seeds))
    return {
        (name, persona, seed): SearchLoop(
            problem_named(name, options.problem_seed), SimulatedModel(persona_of(persona), seed), seed, search
        ).run(options.answers)
        for name, persona, seed in keys
    }


def row(name: str, results: Mapping[str, Mapping[Key, Outcome]], family: str = "") -> tuple[str, ...]:
    """Return the figures of an algorithm on the problems of a family, or on all."""
    mine, reference = (
        {key: one for key, one in results[which].items() if key[0].startswith(family)} for which in (name, REFERENCE)
    )
    found = list(mine.values())
    compared = ("", "")
    if name != REFERENCE:
        gain = difference(*({key: one.area for key, one in side.items()} for side in (mine, reference)))
        compared = (f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]", f"{gain.agreeing:.0%}")
    return (
        name,
        f"{fmean(one.area for one in found):.3f}",
        f"{fmean(one.gap for one in found):.3f}",
        f"{median(one.depth for one in found):g}",
        f"{fmean(one.unscored for one in found):.0%}",
        f"{fmean(one.duplicates for one in found):.0%}",
        *compared,
    )


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows under their header, the columns in line."""
    lines = [_HEADER, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(_HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not k else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _search(algorithm: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings `search.*`; an algorithm with a budget is told that of the comparison."""
    (kind,) = (kind for kind in _KINDS if kind.algorithm_name() == algorithm)
    budget = {"budget": options.answers} if "budget" in kind.model_fields else {}
    more = dict(setting.partition("=")[::2] for setting in options.set)
    return {**more, "algorithm": {"name": algorithm, **budget}}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.search", description="Compare search algorithms.")
    names = [kind.algorithm_name() for kind in _KINDS]
    parser.add_argument("--answers", type=int, default=600, help="answers of each search")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--personas", type=int, default=4, help="number of personas")
    parser.add_argument("--algorithms", default=",".join(names), help="separated by commas")
    parser.add_argument("--problems", default="", help="families or problems, separated by commas; default: all")
    parser.add_argument("--problem-seed", type=int, default=0, help="seed that the problems are drawn from")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of search.*")
    options = parser.parse_args(arguments)
    if unknown := set(options.algorithms.split(",")) - set(names):
        parser.error(f"no such algorithm: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    try:
        names_of(options.problems)
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()
