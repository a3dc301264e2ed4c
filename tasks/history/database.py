"""Answer SQL over the history, read-only, by DuckDB views on the Parquet files. Only this module imports `duckdb`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from overnight.schemas import tables
from overnight.schemas.errors import QueryError
from overnight.schemas.views import MACROS, VIEWS
from overnight.tasks.history import definitions, payments, query_guard
from overnight.tasks.history.atomic_files import unread_format
from overnight.tasks.history.files import tables_in
from overnight.tasks.history.journal import readable_completions
from overnight.tasks.history.query_process import memory_error
from overnight.tasks.history.run_lock import is_under_way

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    Relation: TypeAlias = duckdb.DuckDBPyRelation

T = TypeVar("T")

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": "50%",
    "temp_directory": "",  # a query writes nothing, so it spills nothing
}
_DAMAGED = "Make the file readable for you, restore it from a copy, or move the folder of its run out of the history."
_REMEDY = "`overnight sql --describe` shows the views and macros."
_TIME_OF_DAY = "DuckDB takes the time of day of a time without zone; all are in UTC: started_at::timestamp::time"
_OF_OTHER_FORMATS = """
SELECT file_name, try_cast(value::VARCHAR AS INT) AS found FROM parquet_kv_metadata(?)
WHERE key::VARCHAR = ? AND found NOT BETWEEN ? AND ?
"""
_MOST_HELD_BYTES = 2**20
_TRIES = 20
_TRIES_OF_ONE_FILE = 3
_TORN = re.compile("TProtocolException|don't know what type|[Nn]o magic bytes|too small to be a Parquet file")
"""Errors of reading a file that was replaced by another one meanwhile, or of one that is damaged."""


class Database:
    """Read-only SQL access to a history.

    The connection can read the tables of the history and nothing else, and accepts single `SELECT` statements only.
    Each query sees the generations that were committed when it began, in all tables. What a user asks goes through a
    `QueryProcess`, which also limits its time and memory, and ends it at any moment.

    Args:
        history: The directory, with which the names of files begin in plans and errors.
        run_id: The only run that the views show; None for all runs.
        limits: Limits on what queries read and take; by default all views, and half of the memory.

    Attributes:
        history: The directory.
    """

    def __init__(self, history: Path, run_id: str | None = None, limits: query_guard.Limits | None = None) -> None:
        import duckdb

        self.history = history
        self._run_id = run_id
        self._limits = limits
        self._config = _CONFIG | ({"memory_limit": f"{limits.memory_mib}MiB"} if limits else {})
        self._connection = duckdb.connect(config=self._config)
        self._is_new = True
        self._committed: dict[str, tuple[str, ...]] = {}
        self._interventions: list[tuple[int, int] | None] = []
        self._journals: dict[str, int] = {}
        self._alive: list[dict[str, str]] = []

    def max_bytes(self) -> int:
        """Return the limit on the memory of a query."""
        limit = "SELECT parse_formatted_bytes(current_setting('memory_limit'))"
        return self._connection.execute(limit).fetchall()[0][0]

    def _open(self, committed: dict[str, tuple[str, ...]]) -> None:
        """Connect anew: DuckDB then lets no query read any file but these, and nothing is defined yet."""
        import duckdb

        if not self._is_new:
            self._connection.close()
            self._connection = duckdb.connect(config=self._config)
        self._is_new, self._committed = False, {}
        self._interventions = _versions(committed["interventions"])
        self._undefined, self._sources, self._has_comments = self._definitions(), set[str](), False
        self._journals, self._alive = {}, []
        self._refuse_other_formats(committed["runs"])
        self._connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA files")
        named = definitions.SOURCES if self._limits is None else definitions.sources_in(self._undefined.values())
        readable = [source for source in definitions.FILES if source in named]
        paths = ", ".join(definitions.quoted(path) for source in readable for path in committed[source])
        self._connection.execute(f"SET allowed_paths = [{paths}]; SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        self._to_hold = [] if self._limits else _small(committed)
        self._committed = committed

    def _definitions(self) -> dict[str, str]:
        """Return the definitions of the views and macros that queries may name, by name, later ones after earlier."""
        if self._limits is None:
            return {name: definitions.sql_of(name) for name in VIEWS} | definitions.macros()
        return {name: definitions.sql_of(name) for name in VIEWS if name in self._limits.views}

    def _hold(self) -> None:
        """Read what views read several times into memory, for the second query of these files and all after it.

        Opening the files is most of the time of a query on a small history.
        """
        for name in [name for name in self._to_hold if name in self._sources]:
            self._to_hold.remove(name)
            self._connection.execute(f"CREATE OR REPLACE TABLE files.held AS FROM files.{name}")
            self._connection.execute(f"DROP VIEW files.{name}; ALTER TABLE files.held RENAME TO {name}")

    def _define(self, sql: str, *, everything: bool = False) -> None:
        """Define the views and macros that a query names, and what these read: all would take most of its time.

        After an error, the next query connects anew, as it may have been defined over no files.
        """
        committed, self._committed = self._committed, {}
        everything = everything or definitions.CATALOG.search(sql) is not None
        names = set(self._undefined) if everything else definitions.named_in(sql, self._undefined)
        texts = [self._undefined.pop(name) for name in list(self._undefined) if name in names]
        is_all = everything and not self._limits
        needed = set(definitions.SOURCES) if is_all else definitions.sources_in([sql, *texts])
        new = [name for name in definitions.SOURCES if name in needed and name not in self._sources]
        self._define_sources(new, dict.fromkeys(definitions.SOURCES, ()))  # views are defined sooner over no files
        for text in texts:
            self._connection.execute(text)
        self._define_sources([name for name in new if name in definitions.FILES], committed)
        self._sources.update(new)
        if is_all:
            self._add_comments()
        self._committed = committed

    def _define_sources(self, names: Sequence[str], committed: Mapping[str, tuple[str, ...]]) -> None:
        for name in names:
            if name not in definitions.FILES:
                self._connection.from_arrow(query_guard.SOURCES[name].empty_table()).create(f"files.{name}")
                continue
            relation = definitions.relation_of(name, committed, _columns()[name])
            self._connection.execute(f"CREATE OR REPLACE VIEW files.{name} AS {relation}")

    def _read_journals(self, committed: Mapping[str, tuple[str, ...]]) -> None:
        """Read what the journals have now, if a view shows it, and they have grown since they were read last.

        Raises:
            IOException: If a generation was committed meanwhile, whose answers would count twice, or not at all.
        """
        import duckdb
        import pyarrow as pa

        if definitions.JOURNALS not in self._sources:
            return
        try:
            sizes = {path: os.stat(path).st_size for path in committed[definitions.JOURNALS]}
            if sizes == self._journals:
                return
            rows = [row for path in sizes for row in _journal_rows(Path(path))]
        except FileNotFoundError as error:
            raise duckdb.IOException(str(error)) from error
        if tables_in(self.history, self._run_id) != committed:
            raise duckdb.IOException("other generations are committed now")
        self._fill(definitions.JOURNALS, pa.Table.from_pylist(rows, tables.JOURNALS))
        self._journals = sizes

    def _look_for_the_living(self, committed: Mapping[str, tuple[str, ...]]) -> None:
        """Look which runs have a night under way here, if a view shows it."""
        import pyarrow as pa

        if definitions.ALIVE not in self._sources:
            return
        last = {path.parents[1].name: path for path in map(Path, committed["nights"])}
        alive = [{"run_id": run_id} for run_id, path in last.items() if is_under_way(path)]
        if alive != self._alive:
            self._fill(definitions.ALIVE, pa.Table.from_pylist(alive, tables.ALIVE))
            self._alive = alive

    def _fill(self, name: str, content: pa.Table) -> None:
        self._connection.execute(f"TRUNCATE files.{name}")
        self._connection.from_arrow(content).insert_into(f"files.{name}")

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        """Run one query: one SELECT, or an EXPLAIN of one, with the values of its question marks.

        Raises:
            QueryError: If the SQL is wrong, is not a single query, or takes too much memory.
        """
        import duckdb

        try:
            with _ctrl_c():
                return self._answer(sql, parameters)
        except (duckdb.OutOfMemoryException, MemoryError) as error:
            raise memory_error(self._limits) from error
        except duckdb.Error as error:
            # Queries read files of the history only.
            is_of_files = isinstance(error, duckdb.IOException | duckdb.InvalidInputException)
            is_of_files |= isinstance(error, duckdb.PermissionException) and str(self.history) in str(error)  # is gone
            remedy = _DAMAGED if is_of_files and ".parquet" in str(error) else _REMEDY
            remedy = _TIME_OF_DAY if "TIMESTAMP WITH TIME ZONE -> TIME)" in str(error) else remedy
            raise QueryError(str(error).strip(), remedy=remedy) from error

    def rows(self, sql: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
        return self.query(sql, parameters).to_pylist()

    def relation(self, sql: str) -> Relation:
        """Return the rows of a query, read once, as a relation of a connection of its own."""
        import duckdb

        return duckdb.connect().from_arrow(self.query(sql))

    def close(self) -> None:
        self._connection.close()

    def _answer(self, sql: str, parameters: list[Any] | None) -> pa.Table:
        query_guard.require_unicode(sql)
        if self._limits:
            self._limits.require_length(sql)
        if [_kind(statement) for statement in self._connection.extract_statements(sql)] == ["MULTI"]:
            sql = query_guard.list_pivot_values(sql, self._values)
        checked = self._checked(sql)
        return self._read_consistently(checked, lambda: self._table(self._sql(checked, parameters)))

    def _values(self, sql: str) -> list[str]:
        checked = self._checked(sql)
        return [row[0] for row in self._read_consistently(checked, lambda: self._sql(checked).fetchall())]

    def _checked(self, sql: str) -> str:
        """Return a query made of the text that was checked: EXPLAIN ANALYZE runs what it explains, too."""
        explain, explained = query_guard.split_explain(sql)
        statements = self._connection.extract_statements(explained)
        query_guard.require_single_select([_kind(statement) for statement in statements])
        query = statements[0].query
        parsed = self._connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        query_guard.refuse_others(parsed[0][0], self._limits)
        return f"{explain} {query}" if explain else query

    def _sql(self, sql: str, parameters: list[Any] | None = None) -> Relation:
        return self._connection.sql(sql, params=parameters or None)

    def _table(self, found: Relation) -> pa.Table:
        """Return the rows of an answer, as many as may be."""
        if self._limits is None:
            return found.to_arrow_table()
        return _beginning(found.to_arrow_reader(self._limits.rows), self._limits)

    def _read_consistently(self, sql: str, read: Callable[[], T]) -> T:
        """Read what a query names from the files that are committed now.

        Retry if a compaction removed some of them meanwhile, and if it named something else than was understood.
        """
        import duckdb

        everything = False
        for tries in range(_TRIES):
            committed = tables_in(self.history, self._run_id)
            try:
                # The file of interventions is replaced when people ask for more, and may then change other tables.
                if committed != self._committed or _versions(committed["interventions"]) != self._interventions:
                    self._open(committed)
                else:
                    self._hold()
                self._define(sql, everything=everything)
                self._read_journals(committed)
                self._look_for_the_living(committed)
                return read()
            except duckdb.CatalogException:
                if everything or not self._undefined:
                    raise
                everything = True
            except duckdb.Error as error:
                # The row of a night is replaced while it runs: DuckDB may look for its end where the last one had it.
                if _TORN.search(str(error)) and tries < _TRIES_OF_ONE_FILE:
                    continue
                # It looks for a missing file under other names, too, which it may not.
                is_of_files = isinstance(error, duckdb.IOException | duckdb.PermissionException)
                if not is_of_files or tables_in(self.history, self._run_id) == committed:
                    raise
        raise QueryError("the files of the history keep changing", remedy="Ask again.")

    def _refuse_other_formats(self, runs: tuple[str, ...]) -> None:
        """Check that this version reads the formats of all runs, of which it would show other columns as null."""
        parameters = [list(runs), tables.FORMAT_KEY.decode(), tables.OLDEST_FORMAT, tables.FORMAT]
        if runs and (other := self._connection.execute(_OF_OTHER_FORMATS, parameters).fetchone()):
            raise unread_format(*other)

    def _add_comments(self) -> None:
        """Store the descriptions of views, columns and macros in DuckDB's catalog, which alone shows them."""
        if self._has_comments:
            return
        self._has_comments = True
        for name, view in VIEWS.items():
            self._connection.execute(f"COMMENT ON VIEW {name} IS {definitions.quoted(view.description)}")
            for column, meaning in view.columns.items():
                self._connection.execute(f'COMMENT ON COLUMN {name}."{column}" IS {definitions.quoted(meaning)}')
        for name, macro in MACROS.items():
            self._connection.execute(
                f"COMMENT ON MACRO TABLE {name} IS {definitions.quoted(f'{macro.call}: {macro.description}')}"
            )


@cache
def _columns() -> dict[str, dict[str, str]]:
    """Return DuckDB's types of the columns of each table of files."""
    import duckdb

    with duckdb.connect() as connection:
        empty = {name: connection.from_arrow(query_guard.SOURCES[name].empty_table()) for name in definitions.FILES}
        return {name: dict(zip(one.columns, map(str, one.types), strict=True)) for name, one in empty.items()}


def _versions(paths: Sequence[str]) -> list[tuple[int, int] | None]:
    """Return what differs once a file is replaced; `None` of one that has gone."""
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            now = os.stat(path)
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((now.st_ino, now.st_mtime_ns))
    return found


def _small(committed: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the tables to be read into memory: generations, and programs where their files are small."""
    size = 0
    for path in committed["programs"]:
        try:
            size += os.stat(path).st_size
        except FileNotFoundError:  # a compaction removed it, of which the query itself learns
            return ["generations"]
        if size > _MOST_HELD_BYTES:
            return ["generations"]
    return ["generations", "programs"]


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """Raise Ctrl-C as what it is, of which DuckDB makes an error at the end of a step."""
    try:
        yield
    except RuntimeError as error:
        if "Query interrupted" not in str(error):
            raise
        raise KeyboardInterrupt from error


def _journal_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of `tables.JOURNALS` of one journal; a damaged line, of which `resume` tells, is left out."""
    run = {"run_id": path.parent.parent.name, "generation": int(path.stem)}
    return [run | one for one in payments.sums_of(payments.uncommitted(readable_completions(path)))]


def _kind(statement: duckdb.Statement) -> str:
    """Return the type of a statement; DuckDB's enumeration lacks some types."""
    try:
        return statement.type.name
    except ValueError:
        return "something else"


def _beginning(reader: pa.RecordBatchReader, limits: query_guard.Limits) -> pa.Table:
    """Return the first rows of an answer, of which no more are read."""
    import pyarrow as pa

    batches: list[pa.RecordBatch] = []
    left = limits.rows
    for batch in reader:
        batches.append(batch.slice(0, left))
        limits.require_size(sum(one.nbytes for one in batches))
        left -= batches[-1].num_rows
        if not left:
            break
    return pa.Table.from_batches(batches, reader.schema)
