"""The history at scale: questions asked of compacted runs, of plain files as they were committed, and of SQLite.

python -m tests.bench.bench_history [--runs 200] [--generations 50] [--candidates 500] [--long 10000]

With `--place DIR` what is made is kept and used again; with `--make` nothing is asked, so that asking can be left to an
hour when the machine is quiet.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from overnight.schemas import tables
from overnight.schemas.ids import program_id
from overnight.tasks.history.compact import compact
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, runs_in
from overnight.tasks.history.local_backend import LocalBackend
from overnight.testing.made import NOW, create

MODELS = ("test/cheap", "test/dear", "test/local")
REPEATS = 5


def make_run(history: Path, number: int, generations: int, candidates: int) -> RunFiles:
    """A run whose candidates descend from those of the generation before; text is short, to give SQLite a chance."""
    files = create(history, f"20260101-0000-made-{number:04d}")
    programs = made_programs(files.run_id, number, generations, candidates)
    own = made_generations(files.run_id, programs, generations, candidates)
    for generation in range(1, generations + 1):
        folder = files.generation(generation)
        folder.mkdir()
        mine = programs.slice((generation - 1) * candidates, candidates)
        stays = {"generation": generation, "niche": "0", "event": "joined", "program_id": mine["program_id"][0].as_py()}
        population = pa.Table.from_pylist([stays | {"run_id": files.run_id, "step": 0}], schema=tables.POPULATION)
        for name, table in {
            "programs": mine, "population": population, "generation": own.slice(generation - 1, 1),
        }.items():  # fmt: skip
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    return files


def made_programs(run_id: str, seed: int, generations: int, candidates: int) -> pa.Table:
    random = np.random.default_rng(seed)
    size = generations * candidates
    generation, index = np.divmod(np.arange(size), candidates)
    ids = [program_id(run_id, int(g) + 1, int(i)) for g, i in zip(generation, index, strict=True)]
    before = np.maximum(generation - 1, 0) * candidates
    parents = random.integers(0, candidates, (size, 2)) + before[:, None]
    start = program_id(run_id, 0, 0)
    scored = random.random(size) < 0.6
    score = np.round(random.normal(generation / 100, 1.0), 4)
    return filled(
        tables.PROGRAMS,
        size,
        run_id=[run_id] * size,
        generation=generation + 1,
        index=index,
        program_id=ids,
        parent_ids=[
            [ids[one], ids[other]] if g else [start] for g, (one, other) in zip(generation, parents, strict=True)
        ],
        niche=(index % 10).astype(str).tolist(),
        model=np.array(MODELS)[index % 3].tolist(),
        prompt=[f"improve {one}" for one in generation],
        body=[f"return item * {one} + {random.integers(1 << 30)}" for one in score],
        code_hash=[f"{one:020x}" for one in random.integers(0, 1 << 62, size)],
        outcome=np.where(scored, "scored", "crashed").tolist(),
        score=pa.array(score, mask=~scored),
        tokens_in=np.full(size, 900),
        tokens_out=np.full(size, 200),
        cost_usd=np.full(size, 0.01),
    )


def made_generations(run_id: str, programs: pa.Table, generations: int, candidates: int) -> pa.Table:
    best = np.nan_to_num(programs["score"].to_numpy(), nan=-9.0).reshape(generations, candidates).max(axis=1)
    return filled(
        tables.GENERATIONS,
        generations,
        run_id=[run_id] * generations,
        generation=np.arange(1, generations + 1),
        attempt=np.ones(generations),
        state=["committed"] * generations,
        ended_at=[NOW] * generations,
        candidates=np.full(generations, candidates),
        best_score=np.maximum.accumulate(best),
        generation_best=best,
        cost_usd=np.full(generations, 0.01 * candidates),
    )


def filled(schema: pa.Schema, size: int, **columns: object) -> pa.Table:
    """A table with these columns, and null in all others."""
    arrays = [
        pa.array(columns[field.name]).cast(field.type) if field.name in columns else pa.nulls(size, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


Ask = Callable[[], Sequence[object]]


def ours(history: Path, run_id: str, program: str) -> dict[str, Ask]:
    database = Database(history)
    return {
        "best 10 of a run": lambda: database.rows(f"FROM best_programs('{run_id}')"),
        "progress of a run": lambda: database.rows(f"FROM progress('{run_id}')"),
        "lineage of a program": lambda: database.rows(f"FROM lineage('{program}')"),
        "cost by model, all runs": lambda: database.rows("FROM cost_by_model()"),
    }


def plain(history: Path, run_id: str, program: str) -> dict[str, Ask]:
    """The same macros over globs, as any other client might write them."""
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA files")
    for view, pattern in {
        "programs": "runs/*/generations/*/programs.parquet",
        "generations": "runs/*/generations/*/generation.parquet",
        "population": "runs/*/generations/*/population.parquet",
        "runs": "runs/*/run.parquet",
    }.items():
        for name in (f"files.{view}", view):
            connection.execute(f"CREATE VIEW {name} AS FROM read_parquet('{history}/{pattern}', union_by_name = true)")
    macros = Path(__file__).parents[2] / "schemas/sql/macros.sql"
    connection.execute(macros.read_text())
    return {
        "best 10 of a run": lambda: connection.sql(f"FROM best_programs('{run_id}')").fetchall(),
        "progress of a run": lambda: connection.sql(f"FROM progress('{run_id}')").fetchall(),
        "lineage of a program": lambda: connection.sql(f"FROM lineage('{program}')").fetchall(),
        "cost by model, all runs": lambda: connection.sql("FROM cost_by_model()").fetchall(),
    }


def make_sqlite(history: Path, place: Path) -> None:
    """The same rows in SQLite, with the indexes that the questions want."""
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        wanted = {
            "programs": "run_id generation index program_id parent_ids niche model body code_hash outcome score "
            "cost_usd tokens_in tokens_out",
            "generations": "run_id generation state candidates cost_usd generation_best best_score",
        }
        for name, columns in wanted.items():
            quoted = ", ".join(f'"{one}"' for one in columns.split())
            connection.execute(f"CREATE TABLE {name} ({quoted})")
            fill(connection, name, columns.split(), history)
        connection.executescript(SQLITE_INDEXES)


def sqlite(place: Path, run_id: str, program: str) -> dict[str, Ask]:
    connection = sqlite3.connect(place)
    connection.execute("PRAGMA cache_size = -262144")
    return {
        "best 10 of a run": lambda: connection.execute(SQLITE_BEST, [run_id]).fetchall(),
        "progress of a run": lambda: connection.execute(SQLITE_PROGRESS, [run_id]).fetchall(),
        "lineage of a program": lambda: connection.execute(SQLITE_LINEAGE, [program]).fetchall(),
        "cost by model, all runs": lambda: connection.execute(SQLITE_COST).fetchall(),
    }


def fill(connection: sqlite3.Connection, name: str, columns: Sequence[str], history: Path) -> None:
    marks = ", ".join("?" * len(columns))
    kind = {"programs": "programs", "generations": "generation"}[name]
    for run in runs_in(LocalBackend(history)):
        for block in run.blocks():
            table = pq.read_table(block.folder / f"{kind}.parquet", columns=list(columns))
            values = [table[column].to_pylist() for column in columns]
            if "parent_ids" in columns:
                place = columns.index("parent_ids")
                values[place] = [orjson.dumps(one).decode() for one in values[place]]
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", zip(*values, strict=True))
    connection.commit()


SQLITE_INDEXES = """
CREATE INDEX by_run ON programs (run_id, outcome, score);
CREATE INDEX by_id ON programs (program_id);
CREATE INDEX generations_by_run ON generations (run_id, generation);
"""
SQLITE_BEST = """
SELECT max(score), program_id, generation, niche, model, body FROM programs
WHERE run_id = ? AND outcome = 'scored' GROUP BY code_hash ORDER BY 1 DESC LIMIT 10
"""
SQLITE_PROGRESS = """
SELECT generation, sum(candidates) OVER (ORDER BY generation), sum(cost_usd) OVER (ORDER BY generation),
    generation_best, best_score FROM generations WHERE run_id = ? ORDER BY generation
"""
SQLITE_LINEAGE = """
WITH RECURSIVE ancestry(program_id) AS (
    SELECT ? UNION
    SELECT parent.value FROM ancestry JOIN programs AS p USING (program_id), json_each(p.parent_ids) AS parent
)
SELECT p.program_id, p.generation, p.score FROM ancestry JOIN programs AS p USING (program_id)
"""
SQLITE_COST = """
SELECT run_id, model, count(*), sum(tokens_in), sum(tokens_out), sum(cost_usd), max(score)
FROM programs WHERE generation > 0 GROUP BY run_id, model
"""


def timed(questions: dict[str, Ask], repeats: int) -> dict[str, tuple[float, int]]:
    """Median seconds of each question, and how many rows it has."""
    found = {}
    for name, ask in questions.items():
        seconds, rows = [], []
        for _ in range(repeats):
            begin = time.perf_counter()
            rows = ask()
            seconds.append(time.perf_counter() - begin)
        found[name] = statistics.median(seconds), len(rows)
    return found


def opening(history: Path, generations: int) -> float:
    """Seconds to open a history of one long run and get a first answer."""
    begin = time.perf_counter()
    database = Database(history)
    (row,) = database.rows("SELECT generations FROM runs")
    seconds = time.perf_counter() - begin
    assert row["generations"] == generations
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--generations", type=int, default=50)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--long", type=int, default=10_000, help="generations of the one long run")
    parser.add_argument("--place", type=Path, help="keep what is made here, and use what is there")
    parser.add_argument("--make", action="store_true", help="make it, and ask nothing")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = arguments.place or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overnight-bench-")))
        make(place, arguments)
        if not arguments.make:
            compare(place, arguments)
            seconds = statistics.median(opening(place / "long", arguments.long) for _ in range(REPEATS))
            print(
                f"opening a compacted history of {arguments.long} generations, first answer included: {seconds:.3f} s"
            )


def make(place: Path, arguments: argparse.Namespace) -> None:
    """The same runs as they were committed, compacted, and in SQLite; and one long run."""
    size = arguments.runs * arguments.generations * arguments.candidates
    for name, step in {
        "uncompacted": lambda: make_runs(place / "uncompacted", arguments),
        "compacted": lambda: copy_compacted(place / "uncompacted", place / "compacted"),
        "rows.sqlite": lambda: make_sqlite(place / "compacted", place / "rows.sqlite"),
        "long": lambda: compact(make_run(place / "long", 0, arguments.long, 4), 1),
    }.items():
        done = place / f"{name}.done"
        if not done.exists():
            begin = time.perf_counter()
            step()
            done.touch()
            print(f"made {name} of {size:,} programs in {time.perf_counter() - begin:.0f} s", flush=True)


def make_runs(history: Path, arguments: argparse.Namespace) -> None:
    for number in range(arguments.runs):
        make_run(history, number, arguments.generations, arguments.candidates)


def copy_compacted(history: Path, copy: Path) -> None:
    shutil.copytree(history, copy, copy_function=shutil.copyfile)
    for files in runs_in(LocalBackend(copy)):
        compact(files, 1)


def compare(place: Path, arguments: argparse.Namespace) -> None:
    run_id = f"20260101-0000-made-{arguments.runs // 2:04d}"
    program = program_id(run_id, arguments.generations, 0)
    answers = {
        "plain glob": timed(plain(place / "uncompacted", run_id, program), 1),
        "overnight": timed(ours(place / "compacted", run_id, program), REPEATS),
        "SQLite": timed(sqlite(place / "rows.sqlite", run_id, program), REPEATS),
    }
    print(f"{'seconds':<26}" + "".join(f"{name:>14}" for name in answers))
    for question, (_, rows) in answers["overnight"].items():
        assert len({told[question][1] for told in answers.values()}) == 1, question
        print(
            f"{question:<26}" + "".join(f"{told[question][0]:>14.3f}" for told in answers.values()) + f"  {rows} rows"
        )


if __name__ == "__main__":
    main()
