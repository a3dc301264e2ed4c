"""SQL over the history: DuckDB views on the Parquet files, read-only. The only module that imports `duckdb`."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from schemas import tables
from schemas.errors import QueryError
from schemas.views import MACROS, VIEWS
from tasks.history import query_guard
from tasks.history.files import tables_in
from tasks.history.limits import over_memory, over_time, resident_bytes

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

T = TypeVar("T")

_SOURCES = tables.ALL | {"attempts": tables.GENERATIONS}
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": "50%",
    "temp_directory": "",  # a query writes nothing, so it spills nothing
}
_REMEDY = "`overnight sql --describe` shows the views and macros."
_TRIES = 20
_GLANCE_S = 0.1


class _Query(Generic[T]):
    """What a thread is to answer, unless it is given up before that begins."""

    def __init__(self, answer: Callable[[], T]) -> None:
        self._answer = answer
        self.is_begun = self.is_given_up = False
        self.ended = threading.Event()

    def run(self) -> T:
        self.is_begun = True
        try:
            if self.is_given_up:
                raise KeyboardInterrupt
            return self._answer()
        finally:
            self.ended.set()


class Database:
    """The history as tables.

    The connection can read the tables of the history and nothing else, and takes single `SELECT` statements only. Each
    query sees what was committed when it began, in all tables.

    Args:
        history: Its directory; it need not exist yet.

    Attributes:
        most_bytes: Limit on the memory of a query.
    """

    def __init__(self, history: Path) -> None:
        import duckdb

        self.history = history.resolve()
        self._connection = duckdb.connect(config=_CONFIG)
        self._known: dict[str, tuple[str, ...]] = {}
        self.most_bytes = math.inf
        self._wait(_Query(self._open), None)

    def _open(self) -> None:
        self._connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA files")
        self._steadily(lambda: None)
        for name in (*VIEWS, "macros"):
            self._connection.execute(package_files("schemas.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8"))
        self._comment()
        self._lock()
        limit = "SELECT parse_formatted_bytes(current_setting('memory_limit'))"
        self.most_bytes = self._connection.execute(limit).fetchall()[0][0]

    def query(self, sql: str, parameters: list[Any] | None = None, *, timeout_s: float | None = None) -> pa.Table:
        """Runs one query; Ctrl-C ends it.

        Args:
            sql: One SELECT, or an EXPLAIN of one.
            parameters: Values of its question marks.
            timeout_s: Seconds that it may take.

        Raises:
            QueryError: If the SQL is wrong, is more than a query, or takes too long or too much memory.
        """
        import duckdb

        try:
            return self._wait(_Query(lambda: self._answer(sql, parameters)), timeout_s)
        except (duckdb.OutOfMemoryException, MemoryError) as error:
            raise over_memory() from error
        except duckdb.Error as error:
            raise QueryError(str(error).strip(), remedy=_REMEDY) from error

    def rows(self, sql: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        return self.query(sql, parameters).to_pylist()

    def close(self) -> None:
        self._connection.close()

    def _answer(self, sql: str, parameters: list[Any] | None) -> pa.Table:
        self._refuse_more_than_a_query(sql)
        return self._steadily(lambda: self._connection.sql(sql, params=parameters or None).to_arrow_table())

    def _steadily(self, ask: Callable[[], T]) -> T:
        """What the files answer that are committed now; asked again where some were compacted away meanwhile."""
        import duckdb

        for _ in range(_TRIES):
            now = tables_in(self.history)
            try:
                self._see(now)
                return ask()
            except duckdb.IOException:
                if tables_in(self.history) == now:
                    raise
        raise QueryError("the files of the history keep changing", remedy="Ask again.")

    def _wait(self, asked: _Query[T], timeout_s: float | None) -> T:
        """The answer from its thread: where DuckDB sees Ctrl-C, which is late, it calls it an error."""
        with ThreadPoolExecutor(1, "overnight-query") as thread:
            try:
                return _result(thread.submit(asked.run), timeout_s, self.most_bytes)
            except TimeoutError as error:
                raise over_time(timeout_s or 0.0) from error
            finally:
                # Whatever ended the waiting, and wherever, even within `submit`.
                asked.is_given_up = True
                while asked.is_begun and not asked.ended.is_set():
                    self._connection.interrupt()  # again and again: one that comes before the query begins is lost
                    asked.ended.wait(0.05)

    def _see(self, now: Mapping[str, tuple[str, ...]]) -> None:
        """Makes the tables those of the files that are committed now."""
        for source, schema in _SOURCES.items():
            if now[source] != self._known.get(source):
                relation = _relation(now[source], schema)
                self._connection.execute(f"CREATE OR REPLACE VIEW files.{source} AS {relation}")
                self._known[source] = now[source]

    def _refuse_more_than_a_query(self, sql: str) -> None:
        query_guard.refuse_what_is_no_text(sql)
        statements = self._connection.extract_statements(sql)
        kinds = [_kind(statement) for statement in statements]
        if kinds == ["EXPLAIN"]:
            return self._refuse_more_than_a_query(query_guard.explained(statements[0].query))
        query_guard.refuse_more_than_one_query(kinds)
        parsed = self._connection.execute("SELECT json_serialize_sql(?)", [statements[0].query]).fetchall()
        return query_guard.refuse_files(parsed[0][0])

    def _comment(self) -> None:
        """Tells DuckDB what the views, their columns and the macros mean."""
        for name, view in VIEWS.items():
            self._connection.execute(f"COMMENT ON VIEW {name} IS {_quoted(f'one row: {view.row}')}")
            for column, meaning in view.columns.items():
                self._connection.execute(f'COMMENT ON COLUMN {name}."{column}" IS {_quoted(meaning)}')
        for name, macro in MACROS.items():
            self._connection.execute(f"COMMENT ON MACRO TABLE {name} IS {_quoted(f'{macro.call}: {macro.says}')}")

    def _lock(self) -> None:
        self._connection.execute(f"SET allowed_directories = [{_quoted(str(self.history))}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")


def _result(answer: Future[T], timeout_s: float | None, most_bytes: float) -> T:
    """The answer, waited for in short waits: a signal that comes just before a wait begins does not end that wait.

    Raises:
        TimeoutError: If it takes longer.
        MemoryError: If it takes more memory. DuckDB's own limit does not count what it has answered already.
    """
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    before = resident_bytes(os.getpid())
    while not answer.done():
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        if resident_bytes(os.getpid()) - before > most_bytes:
            raise MemoryError
        wait([answer], min(_GLANCE_S, left_s))
    return answer.result()


def _kind(statement: duckdb.Statement) -> str:
    """What a statement is; DuckDB's own list of that lacks some."""
    try:
        return statement.type.name
    except ValueError:
        return "something else"


def _relation(paths: Sequence[str], schema: pa.Schema) -> str:
    """The files as a relation, or an empty one with the same columns; columns that an older file lacks are null."""
    columns = {column.name: _sql_type(column.type) for column in schema}
    if not paths:
        nothing = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns.items())
        return f"SELECT {nothing} WHERE false"
    return f"SELECT * FROM read_parquet([{', '.join(map(_quoted, paths))}], schema = {_map(columns)})"


def _map(columns: Mapping[str, str]) -> str:
    parts = (
        f"{_quoted(name)}: {{name: {_quoted(name)}, type: {_quoted(kind)}, default_value: NULL}}"
        for name, kind in columns.items()
    )
    return f"MAP {{{', '.join(parts)}}}"


def _sql_type(kind: pa.DataType) -> str:
    import pyarrow.types as kinds

    if kinds.is_map(kind):
        return f"MAP({_sql_type(kind.key_type)}, {_sql_type(kind.item_type)})"
    if kinds.is_struct(kind):
        parts = ", ".join(f'"{part.name}" {_sql_type(part.type)}' for part in kind)
        return f"STRUCT({parts})"
    if kinds.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return {"string": "VARCHAR", "int32": "INTEGER", "int64": "BIGINT", "double": "DOUBLE"}.get(
        str(kind), "TIMESTAMP WITH TIME ZONE"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
