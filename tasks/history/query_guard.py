"""Check that a query is one that only reads, and what it reads by name; which files it may read, DuckDB itself checks.

DuckDB would let a query overwrite the files that it may read: `WITH … AS (COPY …)` is part of a SELECT for it. A PIVOT
over the values of the data is several statements, which it cannot show as a tree to be checked: so it is first written
as one over a list of values, which is a single SELECT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from overnight.schemas import tables
from overnight.schemas.errors import QueryError
from overnight.schemas.views import MACROS, VIEWS

# Without comments or quotes, in which a bracket would hide from DuckDB's parser what stands here, or the reverse.
_EXPLAIN = re.compile(
    r"\s*EXPLAIN\b\s*(ANALYZE\b)?\s*(\((?=\s*(ANALYZE|FORMAT)\b)[\w\s,]*\))?", re.IGNORECASE | re.ASCII
)
_CATALOG = ("columns", "databases", "functions", "keywords", "schemas", "settings", "tables", "types", "views")
_TABLE_FUNCTIONS = frozenset(
    {
        "generate_series", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "pragma_table_info",
        "pragma_version", "range", "relatives", "repeat", "repeat_row", "summary", "unnest",
        *(f"duckdb_{name}" for name in _CATALOG), *MACROS,
    }
)  # fmt: skip
SOURCES = tables.ALL | {"attempts": tables.GENERATIONS, "journals": tables.JOURNALS, "alive": tables.ALIVE}
"""Tables of the schema `files`, over the files of the history, by name."""

_SCHEMAS = {"", "main", "files"}
_READING = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
"""Kinds of queries that write nothing: COPY, INSERT, UPDATE and DELETE are others, in a WITH, too."""
_OF_DUCKDB = ("duckdb_", "pragma_")
"""Beginnings of the functions that tell of DuckDB itself, and so of the files of the history."""
_OF_CATALOG = (*_OF_DUCKDB, "sqlite_", "pg_")
"""Beginnings of the views that do."""
_TELLING = {"current_setting", "pg_get_viewdef"}
"""Functions of values that do."""
_PLAIN_NAME = re.compile(r"\w+", re.ASCII)
"""A name that cannot be one of a file that DuckDB reads."""
_FEWER = "Ask for fewer rows or columns."
_TABLES_ONLY = "Query the views and macros; `overnight sql --describe` shows them."


@dataclass(frozen=True)
class Limits:
    """Limits on the queries of somebody who is not to be trusted, such as an agent.

    Attributes:
        views: The only views that they may read, with those that these stand on.
        chars: Most characters of a query.
        rows: Rows of an answer; the others are left out.
        answer_mib: Most MiB of these rows.
        memory_mib: Most MiB of memory that a query may take.
    """

    views: tuple[str, ...]
    chars: int
    rows: int
    answer_mib: int
    memory_mib: int

    def require_length(self, sql: str) -> None:
        """Check the length of a query before it is parsed."""
        if len(sql) > self.chars:
            raise QueryError(
                f"the query has {len(sql)} characters, more than {self.chars}", remedy="Write a shorter one."
            )

    def require_size(self, n_bytes: int) -> None:
        """Check the size of an answer."""
        if n_bytes > self.answer_mib * 2**20:
            raise QueryError(f"the answer has more than {self.answer_mib} MiB", remedy=_FEWER)


def split_explain(sql: str) -> tuple[str, str]:
    """Return the words of an EXPLAIN at the beginning of a statement, if any, and the statement that it explains."""
    match = _EXPLAIN.match(sql)
    end = match.end() if match else 0
    return sql[:end], sql[end:]


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
            remedy="The history is read-only; begin with SELECT, WITH, FROM, DESCRIBE or EXPLAIN, "
            "the last without a comment before it.",
        )


def refuse_others(parsed: str, limits: Limits | None = None) -> None:
    """Check that a query only reads, and what it reads by name; which files it reads, DuckDB checks.

    Args:
        parsed: The query as DuckDB's `json_serialize_sql` returns it.
        limits: The views that it may read, without which it may read all, and tables of files and macros, too.

    Raises:
        QueryError: If it reads anything but views, tables of `files`, names of its own WITH, and functions of the list.
    """
    tree = json.loads(parsed)
    if tree["error"]:
        raise QueryError(f"the query cannot be checked: {tree.get('error_message')}", remedy=_TABLES_ONLY)
    nodes = list(_nodes(tree))
    given = {entry["key"].lower() for node in nodes for entry in (node.get("cte_map") or {}).get("map", ())}
    if limits is not None:
        _refuse_names(given)
    for node in nodes:
        _refuse_writing(str(node.get("type")))
        _refuse_function(node, limits)
        if node.get("show_type") in ("SHOW_SPECIAL", "SHOW_FROM"):
            _refuse_show(node, limits)
        elif node.get("table_name"):
            _refuse_table(node, given - VIEWS.keys(), limits)


def _refuse_writing(kind: str) -> None:
    if kind.endswith("_NODE") and kind not in _READING:
        raise QueryError(
            f"{kind.split('_')[0]} is refused: the history is read-only", remedy="Query it with SELECT, WITH or FROM."
        )


def _refuse_names(given: Collection[str]) -> None:
    """Check the names of a WITH, each of which counts in the whole query, even where DuckDB reads another table."""
    for name in given:
        if not _PLAIN_NAME.fullmatch(name) or name.startswith(_OF_CATALOG):
            raise QueryError(
                f"{name!r} is refused as the name of a WITH: a file or DuckDB's catalog may have it",
                remedy="Name it with other letters, digits and underscores.",
            )


def _refuse_show(node: dict[str, Any], limits: Limits | None) -> None:
    if limits is not None and node.get("table_name") != '"tables"':
        raise QueryError("SHOW is refused but for SHOW TABLES: it tells of other tables", remedy=_TABLES_ONLY)


def _refuse_function(node: dict[str, Any], limits: Limits | None) -> None:
    if node.get("type") == "TABLE_FUNCTION":
        function = (node.get("function") or {}).get("function_name", "").lower()
        is_hidden = limits is not None and (function in MACROS or function.startswith(_OF_DUCKDB))
        if function not in _TABLE_FUNCTIONS or is_hidden:
            raise QueryError(
                f"{function} is refused as a table: it may read files, or has one value", remedy=_TABLES_ONLY
            )
    elif limits is not None and (function := str(node.get("function_name")).lower()) in _TELLING:
        raise QueryError(f"{function} is refused: settings and definitions name files", remedy=_TABLES_ONLY)


def _refuse_table(node: dict[str, Any], given: Collection[str], limits: Limits | None) -> None:
    """Check the name of a table; `given` are the names of the query's own WITH that are no views."""
    catalog, schema, table = ((node.get(f"{part}_name") or "").lower() for part in ("catalog", "schema", "table"))
    is_known = catalog in ("", "memory") and schema in _SCHEMAS
    if limits is not None:
        is_known = is_known and schema != "files" and (table in limits.views or table in given)
    if not is_known:
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
            _, with_names = split_explain(beginning)
            query = (
                f"{with_names} SELECT DISTINCT ({column})::VARCHAR AS value FROM {source} "
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
