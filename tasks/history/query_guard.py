"""What a query may name: the tables of the history and functions that make rows out of nothing, never a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from schemas.errors import QueryError
from schemas.views import MACROS

_EXPLAIN = re.compile(r"\s*EXPLAIN\b\s*(ANALYZE\b)?\s*(\((?=\s*(ANALYZE|FORMAT)\b)[^)]*\))?", re.IGNORECASE)
_OF_A_FILE = re.compile(r"[/.*\\]")
_CATALOG = ("columns", "databases", "functions", "keywords", "schemas", "settings", "tables", "types", "views")
_TABLE_FUNCTIONS = frozenset(
    {
        "generate_series", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "pragma_table_info",
        "pragma_version", "range", "relatives", "repeat", "repeat_row", "summary", "unnest",
        *(f"duckdb_{name}" for name in _CATALOG), *MACROS,
    }
)  # fmt: skip
_TABLES_ONLY = "Ask the views and macros; `overnight sql --describe` shows them."


def explained(sql: str) -> str:
    """What an EXPLAIN explains; EXPLAIN ANALYZE does it, whatever it is."""
    return _EXPLAIN.sub("", sql, count=1)


def refuse_what_is_no_text(sql: str) -> None:
    """Bytes of an argument or a terminal that are no UTF-8 come as halves of characters, which DuckDB cannot be given.

    Raises:
        QueryError: If there are any.
    """
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise QueryError(f"the query is no text: {error.reason}", remedy="Write it in UTF-8.") from error


def refuse_more_than_one_query(kinds: list[str]) -> None:
    """Looks at the kinds of the statements.

    Raises:
        QueryError: If it is not one SELECT.
    """
    if kinds != ["SELECT"]:
        raise QueryError(
            f"expected one query, got {', '.join(kinds) or 'nothing'}",
            remedy="The history is read-only; begin with SELECT, WITH, FROM, DESCRIBE or EXPLAIN.",
        )


def refuse_files(parsed: str) -> None:
    """Looks at all that a query reads: DuckDB's own lock lets it read any file of the history, journals and locks too.

    Args:
        parsed: The query as DuckDB's `json_serialize_sql` gives it.

    Raises:
        QueryError: If it names what may be a file, or a function that is not known to read none.
    """
    tree = json.loads(parsed)
    if tree["error"]:
        raise QueryError(f"it cannot be looked through: {tree.get('error_message')}", remedy=_TABLES_ONLY)
    for node in _nodes(tree):
        function = (node.get("function") or {}).get("function_name", "").lower()
        if node.get("type") == "TABLE_FUNCTION" and function not in _TABLE_FUNCTIONS:
            raise QueryError(f"{function} is refused: it may read files", remedy=_TABLES_ONLY)
        name = node.get("table_name") or ""
        if node.get("type") == "BASE_TABLE" and _OF_A_FILE.search(name):
            raise QueryError(f"{name!r} is refused: it is a file", remedy=_TABLES_ONLY)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a parsed query."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _nodes(part)
