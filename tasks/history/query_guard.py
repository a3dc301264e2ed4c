"""Check that a query reads only the tables of the history and functions that read no files.

A PIVOT over the values of the data is first written as one over a list of values, which is a single SELECT: DuckDB runs
the former as several statements, of which the first creates a type, and can neither check nor allow them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from overnight.schemas import tables
from overnight.schemas.errors import QueryError
from overnight.schemas.views import MACROS, VIEWS

_EXPLAIN = re.compile(r"\s*EXPLAIN\b\s*(ANALYZE\b)?\s*(\((?=\s*(ANALYZE|FORMAT)\b)[^)]*\))?", re.IGNORECASE)
_CATALOG = ("columns", "databases", "functions", "keywords", "schemas", "settings", "tables", "types", "views")
_TABLE_FUNCTIONS = frozenset(
    {
        "generate_series", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "pragma_table_info",
        "pragma_version", "range", "relatives", "repeat", "repeat_row", "summary", "unnest",
        *(f"duckdb_{name}" for name in _CATALOG), *MACROS,
    }
)  # fmt: skip
SOURCES = tables.ALL | {"attempts": tables.GENERATIONS}
"""Tables of the schema `files`, over the Parquet files, by name."""

_TABLES = frozenset([*(("files", name) for name in SOURCES), *((one, name) for one in ("", "main") for name in VIEWS)])
_CATALOGS = frozenset(("", "memory"))
_TABLES_ONLY = "Query the views and macros; `overnight sql --describe` shows them."


def strip_explain(sql: str) -> str:
    """Return the statement that an EXPLAIN explains, which EXPLAIN ANALYZE would run."""
    return _EXPLAIN.sub("", sql, count=1)


def require_unicode(sql: str) -> None:
    """Check that a query is valid Unicode; bytes of an argument that are not UTF-8 become lone surrogates."""
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise QueryError(f"the query is not valid text: {error.reason}", remedy="Write it in UTF-8.") from error


def require_single_select(kinds: list[str]) -> None:
    """Check the types of the statements."""
    if kinds != ["SELECT"]:
        raise QueryError(
            f"expected one query, got {', '.join(kinds) or 'nothing'}",
            remedy="The history is read-only; begin with SELECT, WITH, FROM, DESCRIBE or EXPLAIN.",
        )


def refuse_file_access(parsed: str, only: Collection[str] = ()) -> None:
    """Check everything that a query reads: DuckDB's access limit allows any file of the history, even journals.

    DuckDB takes a name that it does not know, with its catalog and schema before it, for that of a file.

    Args:
        parsed: The query as DuckDB's `json_serialize_sql` returns it.
        only: The only views that it may read; by default all, and tables of files and macros, too.

    Raises:
        QueryError: If it reads anything but views, tables of `files`, names of its own WITH, and functions of the list.
    """
    tree = json.loads(parsed)
    if tree["error"]:
        raise QueryError(f"the query cannot be checked: {tree.get('error_message')}", remedy=_TABLES_ONLY)
    nodes = list(_nodes(tree))
    functions = _TABLE_FUNCTIONS - MACROS.keys() if only else _TABLE_FUNCTIONS
    for node in nodes:
        function = (node.get("function") or {}).get("function_name", "").lower()
        if node.get("type") == "TABLE_FUNCTION" and function not in functions:
            raise QueryError(f"{function} is refused: it may read files", remedy=_TABLES_ONLY)
    # Any word, wherever it is named: outside of its query it is a table of the catalog or unknown, but never a file.
    given = {entry["key"].lower() for node in nodes for entry in (node.get("cte_map") or {}).get("map", ())}
    views = frozenset((schema, name) for schema in ("", "main") for name in only)
    if only:  # else the name of a view that is refused, given in one place, would be allowed in another
        given -= VIEWS.keys() - set(only)
    known = (views or _TABLES) | {("", name) for name in given if name.isidentifier()}
    for node in nodes:
        if node.get("table_name") and node.get("show_type") != "SHOW_SPECIAL":
            catalog, schema, table = (
                (node.get(f"{part}_name") or "").lower() for part in ("catalog", "schema", "table")
            )
            if catalog not in _CATALOGS or (schema, table) not in known:
                name = ".".join(filter(None, (catalog, schema, table)))
                raise QueryError(f"{name!r} is refused: it is no table of the history", remedy=_TABLES_ONLY)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a parsed query."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _nodes(part)


_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<text> '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word> [A-Za-z_]\w* ) | (?P<mark> [()\[\],;] ) | .
    """,
    re.VERBOSE | re.DOTALL,
)
_END = {"USING", "GROUP", "ORDER", "LIMIT", ";"}
"""Words at which the list of a PIVOT's columns ends."""

_MAX_VALUES = 1000
"""Limit on the values of one expression, each of which is a column."""


def list_pivot_values(sql: str, values_of: Callable[[str], Sequence[str]]) -> str:
    """Return a PIVOT over the values of the data as one over lists of them; any other statement as it is.

    `values_of` returns the values that a query finds. An expression that lists its values stays.

    Raises:
        QueryError: If there are too many values.
    """
    plain = "".join(" " if token["comment"] else token.group() for token in _TOKEN.finditer(sql))
    marks = list(_outer_words(plain))
    start = next((span for word, span in marks if word == "PIVOT"), None)
    on = next((span for word, span in marks if word == "ON" and start and span[0] > start[1]), None)
    if start is None or on is None:
        return sql
    later = [(word, span) for word, span in marks if span[0] >= on[1]]
    end = next((span[0] for word, span in later if word in _END), len(plain))
    cuts = [on[1], *(edge for word, span in later if word == "," and span[1] <= end for edge in span), end]
    beginning, source, columns = plain[: start[0]], plain[start[1] : on[0]], list[str]()
    for first, last in zip(cuts[::2], cuts[1::2], strict=True):
        column = plain[first:last].strip()
        if not any(word == "IN" for word, _ in _outer_words(column)):
            query = (
                f"{strip_explain(beginning)} SELECT DISTINCT ({column})::VARCHAR AS value FROM {source} "
                f"WHERE value IS NOT NULL ORDER BY value LIMIT {_MAX_VALUES + 1}"
            )
            column = _listed(column, values_of(query))
        columns.append(column)
    return f"{beginning} PIVOT {source} ON {', '.join(columns)} {plain[end:]}"


def _listed(column: str, values: Sequence[str]) -> str:
    if len(values) > _MAX_VALUES:
        raise QueryError(
            f"PIVOT: more than {_MAX_VALUES} values of {column}, each of which is a column",
            remedy=f"List those that you want: ON {column} IN (…)",
        )
    listed = ", ".join("'" + value.replace("'", "''") + "'" for value in values) or "NULL"
    return f"({column}) IN ({listed})"


def _outer_words(sql: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield words, commas and semicolons outside of brackets, quotes and comments, in upper case, with their spans."""
    depth = 0
    for token in _TOKEN.finditer(sql):
        text = token.group()
        if token["mark"] and text in "([":
            depth += 1
        elif token["mark"] and text in ")]":
            depth -= 1
        elif not depth and (token["word"] or token["mark"]):
            yield text.upper(), token.span()
