"""Search systems on a simulated model: algorithms and controls in one process, other systems as they are.

    python -m tests.bench.search [--answers 600] [--seeds 5] [--personas 8] [--systems tree,iid,openevolve]
        [--reference plain] [--problems F1,F3-a] [--set search.feedback=2000] [--tuner on] [--openevolve PYTHON]
        [--shinka PYTHON] [--models frontier] [--jobs 2] [--keep FOLDER] [--details] [--held-out]

Each system searches each problem with each persona and seed. The product's algorithms run with its planning, prompts,
parsing and defaults; nothing is confirmed, and programs are evaluated in this process. `tree+sampling.concurrency=1` is
`tree` with that setting. `plain`, greedy search and nothing else, `iid`, `top-ten`, `scs` and `mutate` are controls
(`simulated/controls.py`), to which `--set` does not apply. OpenEvolve and
ShinkaEvolve run as processes of their own, at their defaults, against the same model on loopback
(`simulated/peers.py`).

What is compared is the area, the mean over the answers of log10 of the gap to the optimum, paired with `plain` by
problem, persona and seed: below 0 is better than `plain`. A difference is the interquartile mean of the pairs; its
interval has 95 %, from a hierarchical bootstrap over problems, personas and seeds. It shows whether a mechanism works
as intended on these problems, not how much a real model gains.

Personas are `weak`, from published ranges, or of a class of models whose real answers they are fitted to
(`simulated/fitted.py`).

Nothing is tuned on the problems and personas of `--held-out`: run them once, at the end (`simulated/split.py`).
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.bench.simulated.comparison import Key
from tests.bench.simulated.fitted import MODELS, WEAK
from tests.bench.simulated.peers import PEERS
from tests.bench.simulated.problems import names_of
from tests.bench.simulated.split import HELD_OUT, HELD_OUT_FITTED, PUBLIC
from tests.bench.simulated.systems import REFERENCE, SYSTEMS, Setup, kind_of, search, settings_of
from tests.bench.simulated.tables import Traces, answer_table, family_table, main_table, target_table
from tests.bench.simulated.trace import Trace

_FIRST_BUDGET = 150


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    held_out = HELD_OUT if options.models == WEAK else HELD_OUT_FITTED
    split = held_out if options.held_out else PUBLIC
    personas = split.personas[: options.personas]
    keys = list(itertools.product(names_of(options.problems), personas, range(options.seeds)))
    traces = run_all(options.systems, keys, _setup(options, split.problem_seed), options.jobs)
    half = "held-out" if options.held_out else "public"
    print(
        f"{options.answers} answers, {len(keys)} searches for each system, {half} problems, {options.models} personas\n"
    )
    print(main_table(traces, options.budgets))
    if options.details:
        _print_details(traces, options.budgets)


def run_all(systems: Sequence[str], keys: Sequence[Key], setup: Setup, jobs: int) -> Traces:
    """Let all systems search for all keys, so many at a time."""
    begin, traces = time.monotonic(), {system: dict[Key, Trace]() for system in systems}
    for done, (system, key, trace) in enumerate(_searches(list(itertools.product(systems, keys)), setup, jobs), 1):
        traces[system][key] = trace
        if len(traces[system]) == len(keys):
            sys.stderr.write(f"{system}: {done} searches after {time.monotonic() - begin:.0f} s\n")
    return traces


def _searches(pairs: Iterable[tuple[str, Key]], setup: Setup, jobs: int) -> Iterator[tuple[str, Key, Trace]]:
    if jobs == 1:
        yield from ((system, key, search(system, key, setup)) for system, key in pairs)
        return
    # A fork of a process with threads, such as the server of the model, may hang.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(search, system, key, setup): (system, key) for system, key in pairs}
        try:
            for future in as_completed(futures):
                yield (*futures[future], future.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _print_details(traces: Traces, budgets: Sequence[int]) -> None:
    families = sorted({key[0][:2] for key in next(iter(traces.values()))})
    print("\nanswers\n\n" + answer_table(traces, budgets))
    print("\ntargets\n\n" + target_table(traces, budgets[-1]))
    if len(traces) == 1:
        return
    for family in ["", *families] if len(families) > 1 else families:
        of_family = {
            system: {key: trace for key, trace in mine.items() if key[0].startswith(family)}
            for system, mine in traces.items()
        }
        print(f"\n{family or 'all'}\n\n" + family_table(of_family, budgets))


def _setup(options: argparse.Namespace, problem_seed: int) -> Setup:
    settings = settings_of([*options.set, *([f"tuner.enabled={options.tuner == 'on'}"] if options.tuner else [])])
    pythons = {name: python for name in PEERS if (python := getattr(options, name))}
    return Setup(options.answers, problem_seed, settings, pythons, options.limit, options.keep, options.models)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.search", description="Compare search systems.")
    parser.add_argument("--answers", type=int, default=600, help="answers of each search")
    parser.add_argument("--budgets", default="", help=f"answers to compare at; default: {_FIRST_BUDGET} and all")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--personas", type=int, default=None, help="number of personas; default: all, 8 public ones")
    parser.add_argument("--models", choices=MODELS, default=WEAK, help="class of models that personas are of")
    parser.add_argument("--systems", default="", help="separated by commas; default: all, other systems if given")
    parser.add_argument("--reference", default=REFERENCE, help="system that the others are compared with")
    parser.add_argument("--problems", default="", help="families or problems, separated by commas; default: all")
    parser.add_argument("--held-out", action="store_true", help="the other problems and personas: once, at the end")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="e.g. search.feedback=2000")
    parser.add_argument("--tuner", choices=("on", "off"), help="the same as --set tuner.enabled=…")
    for name in PEERS:
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"a Python that has {name}")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for a search of another system")
    parser.add_argument("--jobs", type=int, default=1, help="searches at a time, each in a process")
    parser.add_argument("--keep", type=Path, help="folder that keeps searches of other systems")
    parser.add_argument("--details", action="store_true", help="also answers, targets, and each family's tests")
    options = parser.parse_args(arguments)
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Replace options by what they mean, and refuse what is not there."""
    given = [name for name in PEERS if getattr(options, name)]
    asked = options.systems.split(",") if options.systems else [name for name in SYSTEMS if name not in PEERS]
    options.systems = list(dict.fromkeys([options.reference, *asked, *(given if not options.systems else ())]))
    if unknown := {kind_of(system) for system in options.systems} - set(SYSTEMS):
        parser.error(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(SYSTEMS)}")
    if changed := [system for system in options.systems if kind_of(system) in PEERS and system not in PEERS]:
        parser.error(f"{', '.join(changed)}: other systems run at their defaults")
    for name in set(options.systems) & set(PEERS):
        if not getattr(options, name):
            parser.error(f"expected --{name} PYTHON, a Python that has it; tests/bench/README.md says how to make one")
    for name in given:
        if shutil.which(getattr(options, name)) is None:
            parser.error(f"--{name}: {getattr(options, name)} cannot be run")
    budgets = [int(word) for word in options.budgets.split(",")] if options.budgets else [_FIRST_BUDGET]
    options.budgets = sorted({*(budget for budget in budgets if budget < options.answers), options.answers})
    try:
        names_of(options.problems)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
