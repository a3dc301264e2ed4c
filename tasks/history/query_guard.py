"""Check that a query reads only the tables of the history and functions that read no files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from schemas import tables
from schemas.errors import QueryError
from schemas.views import MACROS, VIEWS

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
    """Check that a query is valid Unicode; bytes of an argument that are not UTF-8 become lone surrogates.

    Raises:
        QueryError: If it contains surrogates, which DuckDB does not accept.
    """
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise QueryError(f"the query is not valid text: {error.reason}", remedy="Write it in UTF-8.") from error


def require_single_select(kinds: list[str]) -> None:
    """Check the types of the statements.

    Raises:
        QueryError: Unless there is one statement, a SELECT.
    """
    if kinds != ["SELECT"]:
        raise QueryError(
            f"expected one query, got {', '.join(kinds) or 'nothing'}",
            remedy="The history is read-only; begin with SELECT, WITH, FROM, DESCRIBE or EXPLAIN.",
        )


def refuse_file_access(parsed: str) -> None:
    """Check everything that a query reads: DuckDB's access limit allows any file of the history, even journals.

    DuckDB takes a name that it does not know, with its catalog and schema before it, for that of a file.

    Args:
        parsed: The query as DuckDB's `json_serialize_sql` returns it.

    Raises:
        QueryError: If it reads anything but views, tables of `files`, names of its own WITH, and functions of the list.
    """
    tree = json.loads(parsed)
    if tree["error"]:
        raise QueryError(f"the query cannot be checked: {tree.get('error_message')}", remedy=_TABLES_ONLY)
    nodes = list(_nodes(tree))
    for node in nodes:
        function = (node.get("function") or {}).get("function_name", "").lower()
        if node.get("type") == "TABLE_FUNCTION" and function not in _TABLE_FUNCTIONS:
            raise QueryError(f"{function} is refused: it may read files", remedy=_TABLES_ONLY)
    # Any word, wherever it is named: outside of its query it is a table of the catalog or unknown, but never a file.
    given = {entry["key"].lower() for node in nodes for entry in (node.get("cte_map") or {}).get("map", ())}
    known = _TABLES | {("", name) for name in given if name.isidentifier()}
    for node in nodes:
        if node.get("table_name") and node.get("show_type") != "SHOW_SPECIAL":
            _require_known(node, known)


def _require_known(node: dict[str, Any], known: frozenset[tuple[str, str]]) -> None:
    """Check the name of a table."""
    catalog, schema, table = ((node.get(f"{part}_name") or "").lower() for part in ("catalog", "schema", "table"))
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
