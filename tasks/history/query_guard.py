"""Check that a query is one, of the tables of the history; which files it may read, DuckDB itself checks."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
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

_SCHEMAS = {"", "main", "files"}
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
    if kinds not in (["SELECT"], ["MULTI"]):  # a PIVOT is run as several: the first makes a type of what it finds
        raise QueryError(
            f"expected one query, got {', '.join(kinds) or 'nothing'}",
            remedy="The history is read-only; begin with SELECT, WITH, FROM, DESCRIBE or EXPLAIN.",
        )


def refuse_others(parsed: str, only: Collection[str] = ()) -> None:
    """Check what a query reads by name; which files it reads, DuckDB checks.

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
    given = {entry["key"].lower() for node in nodes for entry in (node.get("cte_map") or {}).get("map", ())}
    known = {*only, *(given - VIEWS.keys())}
    functions = _TABLE_FUNCTIONS - MACROS.keys() if only else _TABLE_FUNCTIONS
    schemas = _SCHEMAS - {"files"} if only else _SCHEMAS
    for node in nodes:
        function = (node.get("function") or {}).get("function_name", "").lower()
        if node.get("type") == "TABLE_FUNCTION" and function not in functions:
            raise QueryError(f"{function} is refused: it may read files", remedy=_TABLES_ONLY)
        catalog, schema, table = ((node.get(f"{part}_name") or "").lower() for part in ("catalog", "schema", "table"))
        is_known = catalog in ("", "memory") and schema in schemas and (not only or table in known)
        if table and not is_known and node.get("show_type") != "SHOW_SPECIAL":
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
