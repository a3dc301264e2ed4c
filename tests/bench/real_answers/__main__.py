"""Real answers of language models: bring them into a store, ask it, and learn from it.

    python -m tests.bench.real_answers build --clones FOLDER [--archives FOLDER] --out STORE
    python -m tests.bench.real_answers evaluate --clones FOLDER --out STORE [--problem NAME] [--limit 300]
    python -m tests.bench.real_answers parse --out STORE
    python -m tests.bench.real_answers figures --out STORE [--write]
    python -m tests.bench.real_answers sql --out STORE "SELECT source, count(*) FROM answers GROUP BY ALL"

`build` reads clones of the public repositories of `sources.py`, FOLDER/ShinkaEvolve and so on, bare or not,
`own_answers.parquet`, and further exports of our own runs, *answers-*.tar.zst. What is missing is said, and the rest
goes on. The texts of others stay in the store, which belongs outside of this repository. `evaluate` runs children
again, in containers; `parse` compares what our codecs make of the answers with the programs that they became;
`figures` measures how models answer, which simulated personas are fitted to (`../simulated/fitted.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.real_answers import sources, store
from tests.bench.real_answers.clones import CloneError, open_clone
from tests.bench.simulated.tables import table

PARSED = """
WITH kinds AS (SELECT source, form, kind, count(*) AS n FROM parsed JOIN answers USING (program_id) GROUP BY ALL)
SELECT source, form, sum(n) AS answers, coalesce(sum(n) FILTER (kind = 'same'), 0) AS same,
       round(100 * coalesce(sum(n) FILTER (kind = 'same'), 0) / sum(n), 2) AS percent,
       string_agg(kind || ' ' || n, ', ' ORDER BY n DESC) FILTER (kind <> 'same') AS others
FROM kinds GROUP BY ALL ORDER BY ALL
"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    options.command(options)


def build(options: argparse.Namespace) -> None:
    """Read all sources that are there into a new store."""
    found = store.read(sources.OWN_ANSWERS.parent, sources.OWN_ANSWERS.name)
    _say(f"overnight: {len(found)} rows of {sources.OWN_ANSWERS.name}")
    for name, source in sources.SOURCES.items():
        problems = sources.Problems()
        try:
            clone = open_clone(options.clones, source.repository, source.commit)
            rows = store.rows_of(source.read(clone, problems), clone.commit, is_pinned=clone.is_pinned)
        except CloneError as error:
            _say(f"{name}: left out: {error}")
            continue
        found += rows
        _say(f"{name}: {len(rows)} rows of {source.repository} at {clone.commit[:7]}, {source.licence}")
        if not clone.is_pinned:
            _say(f"{name}: expected commit {source.commit[:7]}: figures will differ (column is_pinned)")
        for problem, count in problems.items():
            _say(f"{name}: {count} files: {problem}")
    for path in sorted(options.archives.glob("*answers-*.tar.zst")) if options.archives else []:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found += (rows := store.rows_of(sources.read_own(path), digest, is_pinned=True))
        _say(f"overnight: {len(rows)} rows of {path.name}")
    store.write(options.out / store.ANSWERS, found, store.SCHEMA)
    _say(f"{len(found)} rows in {options.out}")


def evaluate(options: argparse.Namespace) -> None:
    """Evaluate children again, in containers; a second call goes on where the first one stopped."""
    from tests.bench.real_answers.evaluation import TASKS, evaluate

    for problem in options.problem or TASKS:
        try:
            _say(evaluate(options.out, options.clones, problem, limit=options.limit, seconds=options.seconds))
        except CloneError as error:
            _say(f"{problem}: left out: {error}")


def parse(options: argparse.Namespace) -> None:
    """Parse raw answers with our codecs, and print how often the same program results."""
    from tests.bench.real_answers.parsing import parse_all

    parse_all(options.out)
    options.query = PARSED
    sql(options)


def figures(options: argparse.Namespace) -> None:
    """Measure how models answer, with intervals; `--write` keeps the figures that personas are fitted to."""
    from tests.bench.real_answers.figures import figures, write

    found = figures(options.out)
    header = ("models", "figure", "value", "low", "high", "rows", "clusters")
    print(
        table(header, [(one.persona, one.name, one.value, one.low, one.high, one.rows, one.clusters) for one in found])
    )
    if options.write:
        write(found)


def sql(options: argparse.Namespace) -> None:
    """Print the rows of a query."""
    rows = list(store.rows(store.connect(options.out), options.query))
    print(table(list(rows[0]) if rows else [], [list(row.values()) for row in rows]))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.real_answers", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for command in (build, evaluate, parse, figures, sql):
        one = commands.add_parser(command.__name__, help=command.__doc__)
        one.set_defaults(command=command)
        one.add_argument("--out", type=Path, required=True, metavar="STORE", help="folder of the store")
        if command in (build, evaluate):
            one.add_argument("--clones", type=Path, required=True, help="folder of the clones")
        if command is build:
            one.add_argument("--archives", type=Path, help="folder of our own exports")
        if command is evaluate:
            one.add_argument("--problem", action="append", help="a problem to evaluate; default: all that can be")
            one.add_argument("--limit", type=int, default=300, help="children of a problem that are looked at")
            one.add_argument("--seconds", type=float, default=540.0, help="seconds for each problem")
        if command is figures:
            one.add_argument("--write", action="store_true", help="write them to figures.json")
        if command is sql:
            one.add_argument("query")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
