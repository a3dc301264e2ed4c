"""SQL over the history: DuckDB views on the Parquet files, read-only. The only module that imports `duckdb`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas import tables
from schemas.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa

_PATTERNS = {
    "runs": ("runs/*/run.parquet", tables.RUNS),
    "nights": ("runs/*/nights/*.parquet", tables.NIGHTS),
    "generations": ("runs/*/generations/*/generation.parquet", tables.GENERATIONS),
    "attempts": ("runs/*/attempts/*.parquet", tables.GENERATIONS),
    "programs": ("runs/*/generations/*/programs.parquet", tables.PROGRAMS),
    "population": ("runs/*/generations/*/population.parquet", tables.POPULATION),
}
_EXPLAIN = re.compile(r"\s*EXPLAIN\b\s*(ANALYZE\b)?\s*(\((?=\s*(ANALYZE|FORMAT)\b)[^)]*\))?", re.IGNORECASE)
_READS_FILES = re.compile(r"read_|parquet_|glob$|sniff_|query|json_execute_", re.IGNORECASE)
_TABLES_ONLY = "Ask the views and macros; `overnight sql` alone shows them."
VIEWS = ("runs", "nights", "generations", "programs", "population", "scores")
MACROS = ("best_programs", "progress", "lineage", "cost_by_model", "outcomes_by_model")


class Database:
    """The history as tables.

    The connection can read the tables of the history and nothing else, and takes single `SELECT` statements only.

    Args:
        history: Its directory; it need not exist yet.
    """

    def __init__(self, history: Path) -> None:
        import duckdb

        self._history = history.resolve()
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "TimeZone": "UTC"})
        for name in (*VIEWS, "macros"):
            self._connection.execute(self._definition(name))
        self._lock()

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        """Runs one query.

        Raises:
            QueryError: If the SQL is wrong, or is more than a query.
        """
        import duckdb

        try:
            self._refuse_more_than_a_query(sql)
            return self._connection.sql(sql, params=parameters or None).to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(str(error).strip(), remedy="`overnight sql` alone shows the views and macros.") from error

    def rows(self, sql: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        return self.query(sql, parameters).to_pylist()

    def close(self) -> None:
        self._connection.close()

    def _refuse_more_than_a_query(self, sql: str) -> None:
        statements = self._connection.extract_statements(sql)
        kinds = [statement.type.name for statement in statements]
        if kinds == ["EXPLAIN"]:
            # EXPLAIN ANALYZE does what it explains, whatever that is.
            return self._refuse_more_than_a_query(_EXPLAIN.sub("", statements[0].query, count=1))
        if kinds != ["SELECT"]:
            raise QueryError(
                f"expected one query, got {', '.join(kinds) or 'nothing'}",
                remedy="The history is read-only; begin with SELECT, WITH, FROM, DESCRIBE or EXPLAIN.",
            )
        return self._refuse_files(statements[0].query)

    def _refuse_files(self, query: str) -> None:
        """DuckDB lets a query read every file of an allowed directory, journals and locks too."""
        found = self._connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0]
        for node in _nodes(json.loads(found)):
            function, name = node.get("function") or {}, node.get("table_name") or ""
            if node.get("type") == "TABLE_FUNCTION" and _READS_FILES.match(function.get("function_name", "")):
                raise QueryError(f"{function['function_name']} is refused: it may read files", remedy=_TABLES_ONLY)
            if "/" in name:
                raise QueryError(f"{name!r} is refused: it is a file", remedy=_TABLES_ONLY)

    def _definition(self, name: str) -> str:
        template = package_files("schemas.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")
        for source, (pattern, schema) in _PATTERNS.items():
            if "{" + source + "}" in template:
                template = template.replace("{" + source + "}", self._relation(source, pattern, schema))
        return template

    def _relation(self, source: str, pattern: str, schema: pa.Schema) -> str:
        """The files as a relation; where there is none yet, an empty one with the same columns."""
        if next(self._history.glob(pattern), None) is None:
            self._connection.register(f"no_{source}", schema.empty_table())
            return f"no_{source}"
        path = str(self._history / pattern).replace("'", "''")
        return f"read_parquet('{path}', union_by_name = true)"

    def _lock(self) -> None:
        folder = str(self._history).replace("'", "''")
        self._connection.execute(f"SET allowed_directories = ['{folder}']")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a parsed query."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _nodes(part)
