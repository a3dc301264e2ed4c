"""The store: one Parquet file with a row for each answer or program, and one with evaluations; SQL over both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from overnight.tasks.program.python_source import SourceError, parse

ANSWERS, EVALUATIONS, PARSED = "answers.parquet", "evaluations.parquet", "parsed.parquet"


@dataclass(frozen=True)
class Answer:
    """An answer of a model, or what is left of it; columns are named as in our history where they mean the same.

    Attributes:
        source: Name of the source (`sources.SOURCES`).
        run_id: Run within the source.
        sample: Position among the samples of the run, from 1; 0 is the start program, `None` if it is not known.
        key: Name of the program in its run.
        problem: Name of the problem.
        model: Model as the run names it, several with `+`; empty if it is not known.
        operator: What the prompt asked for, in the source's word; empty if it is not known.
        form: `edits`, `whole` (a file with or without marks) or `function`; empty without a program.
        prompt: All messages of the prompt; empty if it is not known.
        completion: The answer as the model gave it, or as the source kept it; empty if it is not known.
        parent: Text of the program that was to be improved; empty if it is not known.
        body: Text of the program that the answer became; empty if it became none, or is not known.
        parent_key: Name of the parent in the run; empty if it is not known.
        outcome: An outcome of ours; empty if it is not known. A failure of an unknown kind is `crashed`.
        error: Why it was not scored, in the source's words.
        score: Score in the source, higher is better.
        parent_score: Score of the parent in the source.
        accepted: Whether the source kept the program.
        tokens_in: Tokens of the prompt, or characters / 4; `None` if it is not known.
        tokens_out: Tokens of the answer, or characters / 4; `None` if it is not known.
    """

    source: str
    run_id: str
    sample: int | None
    key: str
    problem: str
    model: str = ""
    operator: str = ""
    form: str = ""
    prompt: str = ""
    completion: str = ""
    parent: str = ""
    body: str = ""
    parent_key: str = ""
    outcome: str = ""
    error: str = ""
    score: float | None = None
    parent_score: float | None = None
    accepted: bool | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


_TEXT = ("source", "run_id", "key", "problem", "model", "operator", "form", "prompt", "completion", "parent", "body")
SCHEMA = pa.schema(
    [
        ("program_id", pa.string()),
        ("commit", pa.string()),
        ("is_pinned", pa.bool_()),
        ("sample", pa.int32()),
        *((name, pa.string()) for name in (*_TEXT, "parent_key", "outcome", "error")),
        *((name, pa.float64()) for name in ("score", "parent_score")),
        ("accepted", pa.bool_()),
        *((name, pa.int32()) for name in ("tokens_in", "tokens_out")),
        ("body_hash", pa.string()),
        ("parent_hash", pa.string()),
        ("is_python", pa.bool_()),
        ("repeats", pa.int32()),
    ]
)
"""Columns of `answers`: those of `Answer`, ids, hashes of the texts, whether the program has the syntax of Python, and
how many rows of a source were this one."""

EVALUATION_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("problem", "body_hash", "outcome", "error")),
        *((name, pa.float64()) for name in ("score", "wall_s")),
    ]
)
"""Columns of `evaluations`: what became of a program that was run again, by problem and hash of its text."""


def text_hash(text: str) -> str:
    """Return 12 hex digits of a text without the spaces at the ends of its lines; empty for none."""
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()[:12] if lines else ""


def _is_python(text: str) -> bool:
    try:
        parse(f"def f():\n{indent(text, ' ')}" if text[:1] in " \t" else text)
    except SourceError:
        return False
    return True


def rows_of(answers: Iterable[Answer], commit: str, *, is_pinned: bool) -> list[dict[str, Any]]:
    """Return the rows of a source: one for each program of a run, however many files it is in.

    The first file counts. Programs of the same name are one; so are rows without a name with the same text. A parent's
    text that a source does not repeat is that of the program with its name.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for answer in answers:
        mine = (answer.run_id, answer.key or text_hash(answer.body))
        if mine in rows:
            rows[mine]["repeats"] += 1
            continue
        name = "/".join((answer.source, *mine))
        rows[mine] = {
            **asdict(answer),
            "program_id": hashlib.sha256(name.encode()).hexdigest()[:12],
            "commit": commit,
            "is_pinned": is_pinned,
            "body_hash": text_hash(answer.body),
            "is_python": _is_python(answer.body) if answer.body else None,
            "repeats": 1,
        }
    for row in rows.values():
        parent = rows.get((row["run_id"], row["parent_key"])) if row["parent_key"] else None
        row["parent"] = row["parent"] or (parent["body"] if parent else "")
        row["parent_hash"] = text_hash(row["parent"])
    return list(rows.values())


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    pq.write_table(pa.Table.from_pylist(rows, schema), draft, compression="zstd")
    draft.replace(path)


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection with the views of a store; evaluations and parsed answers are empty until they are there.

    `verdict`, `told` and `parent_told` are an outcome and scores: those of the evaluation here for a source that tells
    no scores, else the source's.
    """
    if not (folder / ANSWERS).exists():
        raise SystemExit(f"expected a store at {folder}: python -m tests.bench.real_answers build --out {folder}")
    database = duckdb.connect()
    for name, path in (("stored", ANSWERS), ("parsed", PARSED), ("evaluations", EVALUATIONS)):
        if (folder / path).exists():
            database.read_parquet(str(folder / path)).create_view(name)
    if not (folder / EVALUATIONS).exists():
        database.register("evaluations", pa.Table.from_pylist([], EVALUATION_SCHEMA))
    database.execute(_VIEW)
    return database


_VIEW = """
CREATE VIEW answers AS
SELECT stored.*,
       mine.score AS again,
       CASE WHEN is_here THEN mine.outcome ELSE nullif(stored.outcome, '') END AS verdict,
       CASE WHEN is_here THEN mine.score ELSE stored.score END AS told,
       CASE WHEN is_here THEN theirs.score ELSE parent_score END AS parent_told
FROM stored
LEFT JOIN evaluations mine ON mine.problem = stored.problem AND mine.body_hash = stored.body_hash
LEFT JOIN evaluations theirs ON theirs.problem = stored.problem AND theirs.body_hash = stored.parent_hash
CROSS JOIN LATERAL (SELECT stored.source = 'shinka' AND mine.outcome IS NOT NULL AS is_here)
"""


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of a file of a store; none if it is not there."""
    path = folder / name
    return pq.read_table(path).to_pylist() if path.exists() else []


def rows(database: duckdb.DuckDBPyConnection, query: str, *values: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query."""
    found = database.execute(query, list(values))
    columns = [column[0] for column in found.description or ()]
    yield from (dict(zip(columns, row, strict=True)) for row in found.fetchall())
