"""Define the views, macros and tables of files that a query names; all of them would take most of its time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files as package_files

from overnight.schemas.interventions import DROPPED
from overnight.tasks.history import query_guard

CATALOG = re.compile(r"duckdb_|pragma_|sqlite_|pg_|information_schema|\bshow\b", re.IGNORECASE)
"""Names of what reads DuckDB's catalog, and so all that is defined."""
JOURNALS, ALIVE = "journals", "alive"
"""Tables of the schema `files` that are no Parquet files: sums over journals, and runs with a night under way here."""

_SOURCE = re.compile(r'\bfiles"?\s*\.\s*"?(\w+)', re.IGNORECASE)
"""A table of the schema `files`, by its name."""
_COMMENT, _WORD = re.compile(r"--[^\n]*"), re.compile(r"\w+")
FILES = tuple(name for name in query_guard.SOURCES if name not in (JOURNALS, ALIVE))
_FIRST = ("interventions", "programs")
SOURCES = (*_FIRST, *(name for name in query_guard.SOURCES if name not in _FIRST))
"""Tables of the schema `files`, those first of which others are made."""

_AFTER_DROPS = {
    "programs": """
SELECT own.* REPLACE (
    CASE WHEN gone.why IS NULL THEN own.outcome ELSE 'unconfirmed' END AS outcome,
    coalesce(gone.why, own.error) AS error,
    CASE WHEN gone.why IS NULL THEN own.score END AS score,
    CASE WHEN gone.why IS NULL THEN own.scores ELSE [] END AS scores,
    CASE WHEN gone.why IS NULL THEN own.confirmed_score END AS confirmed_score,
    CASE WHEN gone.why IS NULL OR own.gain IS NULL THEN own.gain ELSE 0 END AS gain,
    CASE WHEN gone.why IS NULL THEN own.claimed_scores ELSE coalesce(own.claimed_scores, own.scores)
        END AS claimed_scores
)
FROM ({relation}) AS own LEFT JOIN (
    SELECT run_id, program_id, '{dropped}' || any_value(CASE text WHEN '' THEN '' ELSE ': ' || text END) AS why
    FROM files.interventions WHERE kind = 'drop' GROUP BY run_id, program_id
) AS gone ON gone.run_id = own.run_id AND gone.program_id = own.program_id AND own.generation > 0
""",
    "generations": """
SELECT own.* REPLACE (
    CASE WHEN list_contains(gone.ids, own.best_program_id) THEN best.score ELSE own.best_score END AS best_score,
    CASE WHEN list_contains(gone.ids, own.best_program_id) THEN best.program_id ELSE own.best_program_id
        END AS best_program_id,
    CASE WHEN best.run_id IS NULL THEN own.generation_best ELSE best.own_best END AS generation_best
)
FROM ({relation}) AS own LEFT JOIN (
    SELECT run_id, generation, own_best, max(own_best) OVER past AS score,
        arg_max(own_id, own_best) OVER past AS program_id
    FROM (
        SELECT its.run_id, its.generation, its.place, max(score) AS own_best, arg_max(program_id, score) AS own_id
        FROM ({relation}) AS its LEFT JOIN files.programs USING (run_id, generation)
        WHERE its.run_id IN (SELECT run_id FROM files.interventions WHERE kind = 'drop')
        GROUP BY its.run_id, its.generation, its.place
    )
    WINDOW past AS (PARTITION BY run_id ORDER BY place)
) AS best ON best.run_id = own.run_id AND best.generation = own.generation
LEFT JOIN (
    SELECT run_id, list(program_id) AS ids FROM files.interventions WHERE kind = 'drop' GROUP BY run_id
) AS gone ON gone.run_id = own.run_id
""",
}
"""Tables over those of the files, as if the programs that people dropped had failed."""


@cache
def sql_of(name: str) -> str:
    """Return the definition of a view, or those of all macros."""
    return package_files("overnight.schemas.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


@cache
def macros() -> dict[str, str]:
    """Return the definition of each macro, by name: later ones may use earlier ones."""
    _, *parts = re.split(r"^CREATE OR REPLACE MACRO (\w+)", sql_of("macros"), flags=re.MULTILINE)
    return {name: f"CREATE OR REPLACE MACRO {name}{body}" for name, body in zip(parts[::2], parts[1::2], strict=True)}


def named_in(sql: str, definitions: Mapping[str, str]) -> set[str]:
    """Return the definitions whose names a query has among its words, and those that these have."""
    named, texts = set[str](), [sql]
    while texts:
        words = set(_WORD.findall(_SOURCE.sub("", _COMMENT.sub("", texts.pop())).casefold()))
        found = (words & definitions.keys()) - named
        named |= found
        texts += [definitions[name] for name in found]
    return named


def sources_in(texts: Iterable[str]) -> set[str]:
    """Return the tables of files that some SQL reads, with those of which these are made."""
    read = {name.lower() for text in texts for name in _SOURCE.findall(text)}
    return read | set(_FIRST) if read else read


def relation_of(source: str, committed: Mapping[str, Sequence[str]], columns: Mapping[str, str]) -> str:
    """Return SQL of the rows of a table of files: of those that are committed, after what people dropped."""
    relation = _rows_of(committed[source], columns)
    if committed["interventions"] and source in _AFTER_DROPS:
        return _AFTER_DROPS[source].format(relation=relation, dropped=DROPPED)
    return relation


def _rows_of(paths: Sequence[str], columns: Mapping[str, str]) -> str:
    """Return SQL that reads the files; columns that one lacks are null. Without files, it has no rows."""
    if not paths:
        nulls = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns.items())
        return f"SELECT {nulls} WHERE false"
    return f"FROM read_parquet([{', '.join(map(quoted, paths))}], schema = {_map(columns)})"


def _map(columns: Mapping[str, str]) -> str:
    parts = (
        f"{quoted(name)}: {{name: {quoted(name)}, type: {quoted(kind)}, default_value: NULL}}"
        for name, kind in columns.items()
    )
    return f"MAP {{{', '.join(parts)}}}"


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
