"""Answer SQL over the history, read-only, by DuckDB views on the Parquet files. Only this module imports `duckdb`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from overnight.schemas import tables
from overnight.schemas.errors import QueryError
from overnight.schemas.interventions import DROPPED
from overnight.schemas.views import MACROS, VIEWS
from overnight.tasks.history import payments, query_guard
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
_CATALOG = "duckdb_"
"""Beginning of the functions that read DuckDB's catalog, which alone show comments."""
_DAMAGED = "Restore the file from a copy, or remove it."
_REMEDY = "`overnight sql --describe` shows the views and macros."
_TIME_OF_DAY = "DuckDB takes the time of day of a time without zone; all are in UTC: started_at::timestamp::time"
_OF_OTHER_FORMATS = """
SELECT file_name, try_cast(value::VARCHAR AS INT) AS found FROM parquet_kv_metadata(?)
WHERE key::VARCHAR = ? AND found NOT BETWEEN ? AND ?
"""
_TRIES = 20
_TRIES_OF_ONE_FILE = 3
_TORN = re.compile("TProtocolException|don't know what type|[Nn]o magic bytes|too small to be a Parquet file")
"""Errors of reading a file that was replaced by another one meanwhile, or of one that is damaged."""

_JOURNALS, _ALIVE = "journals", "alive"
"""Tables of the schema `files` that are no Parquet files: sums over journals, and runs with a night under way here."""

_SOURCE = re.compile(r"\bfiles\.(\w+)")

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
        max_bytes: Limit on the memory of a query.
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
        self._journals: dict[str, int] | None = None
        self._alive: list[dict[str, str]] | None = None
        limit = "SELECT parse_formatted_bytes(current_setting('memory_limit'))"
        self.max_bytes: int = self._connection.execute(limit).fetchall()[0][0]

    def _open(self, committed: dict[str, tuple[str, ...]]) -> None:
        """Connect anew, with tables and views over these files: DuckDB then lets no query read any other."""
        import duckdb

        if not self._is_new:
            self._connection.close()
            self._connection = duckdb.connect(config=self._config)
        self._is_new, self._committed = False, {}
        self._undefined, self._has_comments = dict(_macros()), False
        self._journals = self._alive = None
        self._refuse_other_formats(committed["runs"])
        self._connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA files")
        definitions = [_sql(name) for name in VIEWS if self._limits is None or name in self._limits.views]
        sources = _sources(definitions)
        if _JOURNALS in sources:
            sources.remove(_JOURNALS)
            self._connection.from_arrow(tables.JOURNALS.empty_table()).create(f"files.{_JOURNALS}")
            self._journals = {}
        if _ALIVE in sources:
            sources.remove(_ALIVE)
            self._connection.from_arrow(tables.ALIVE.empty_table()).create(f"files.{_ALIVE}")
            self._alive = []
        self._define_tables(sources, dict.fromkeys(committed, ()))  # views are defined sooner over no files
        for definition in definitions:
            self._connection.execute(definition)
        self._define_tables(sources, committed)
        paths = ", ".join(_quoted(path) for source in sources for path in committed[source])
        self._connection.execute(f"SET allowed_paths = [{paths}]; SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        # The file of interventions is replaced when people ask for more, and may then change generations.
        self._holds_generations = bool(self._limits or committed["interventions"])
        self._committed = committed

    def _hold_generations(self) -> None:
        """Read generations into memory, for the second query of these files and all after it.

        The table is small, its files never change, and most views read them several times.
        """
        if not self._holds_generations:
            self._connection.execute("CREATE OR REPLACE TABLE files.held AS FROM files.generations")
            self._connection.execute("DROP VIEW files.generations; ALTER TABLE files.held RENAME TO generations")
            self._holds_generations = True

    def _define_tables(self, sources: Sequence[str], committed: Mapping[str, tuple[str, ...]]) -> None:
        for source in sources:
            empty = self._connection.from_arrow(query_guard.SOURCES[source].empty_table())
            columns = dict(zip(empty.columns, map(str, empty.types), strict=True))
            relation = _relation(committed[source], columns)
            if committed["interventions"] and source in _AFTER_DROPS:
                relation = _AFTER_DROPS[source].format(relation=relation, dropped=DROPPED)
            self._connection.execute(f"CREATE OR REPLACE VIEW files.{source} AS {relation}")

    def _read_journals(self, committed: Mapping[str, tuple[str, ...]]) -> None:
        """Read what the journals have now, if a view shows it, and they have grown since they were read last.

        Raises:
            IOException: If a generation was committed meanwhile, whose answers would count twice, or not at all.
        """
        import duckdb
        import pyarrow as pa

        if self._journals is None:
            return
        try:
            sizes = {path: os.stat(path).st_size for path in committed[_JOURNALS]}
            if sizes == self._journals:
                return
            rows = [row for path in sizes for row in _journal_rows(Path(path))]
        except FileNotFoundError as error:
            raise duckdb.IOException(str(error)) from error
        if tables_in(self.history, self._run_id) != committed:
            raise duckdb.IOException("other generations are committed now")
        self._fill(_JOURNALS, pa.Table.from_pylist(rows, tables.JOURNALS))
        self._journals = sizes

    def _look_for_the_living(self, committed: Mapping[str, tuple[str, ...]]) -> None:
        """Look which runs have a night under way here, if a view shows it."""
        import pyarrow as pa

        if self._alive is None:
            return
        last = {path.parents[1].name: path for path in map(Path, committed["nights"])}
        alive = [{"run_id": run_id} for run_id, path in last.items() if is_under_way(path)]
        if alive != self._alive:
            self._fill(_ALIVE, pa.Table.from_pylist(alive, tables.ALIVE))
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
        return self._read_consistently(lambda: self._table(self._run(checked, parameters)))

    def _values(self, sql: str) -> list[str]:
        checked = self._checked(sql)
        return [row[0] for row in self._read_consistently(lambda: self._run(checked).fetchall())]

    def _checked(self, sql: str) -> str:
        """Return a query made of the text that was checked: EXPLAIN ANALYZE runs what it explains, too."""
        explain, explained = query_guard.split_explain(sql)
        statements = self._connection.extract_statements(explained)
        query_guard.require_single_select([_kind(statement) for statement in statements])
        query = statements[0].query
        parsed = self._connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        query_guard.refuse_others(parsed[0][0], self._limits)
        return f"{explain} {query}" if explain else query

    def _run(self, sql: str, parameters: list[Any] | None = None) -> Relation:
        import duckdb

        if self._limits is None and _CATALOG in sql.casefold():
            self._define_macros(set(self._undefined))
            self._add_comments()
        while True:
            try:
                return self._connection.sql(sql, params=parameters or None)
            except duckdb.CatalogException:
                if self._limits or not self._undefined:
                    raise
                # Macros that it names are missing, or one that was meant.
                self._define_macros(_macros_in(sql) & self._undefined.keys() or set(self._undefined))

    def _table(self, found: Relation) -> pa.Table:
        """Return the rows of an answer, as many as may be."""
        if self._limits is None:
            return found.to_arrow_table()
        return _beginning(found.to_arrow_reader(self._limits.rows), self._limits)

    def _read_consistently(self, read: Callable[[], T]) -> T:
        """Read the files that are committed now; retry if a compaction removed some of them meanwhile."""
        import duckdb

        for tries in range(_TRIES):
            committed = tables_in(self.history, self._run_id)
            try:
                if committed != self._committed:
                    self._open(committed)
                else:
                    self._hold_generations()
                self._read_journals(committed)
                self._look_for_the_living(committed)
                return read()
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

    def _define_macros(self, names: Collection[str]) -> None:
        """Define macros, for the first query that needs them: all of them take as long to define as all views."""
        for name in [name for name in self._undefined if name in names]:
            self._connection.execute(self._undefined.pop(name))

    def _add_comments(self) -> None:
        """Store the descriptions of views, columns and macros in DuckDB's catalog, for the first query of it."""
        if self._has_comments:
            return
        self._has_comments = True
        for name, view in VIEWS.items():
            self._connection.execute(f"COMMENT ON VIEW {name} IS {_quoted(view.description)}")
            for column, meaning in view.columns.items():
                self._connection.execute(f'COMMENT ON COLUMN {name}."{column}" IS {_quoted(meaning)}')
        for name, macro in MACROS.items():
            self._connection.execute(
                f"COMMENT ON MACRO TABLE {name} IS {_quoted(f'{macro.call}: {macro.description}')}"
            )


@cache
def _macros() -> dict[str, str]:
    """Return the definition of each macro, by name: later ones may use earlier ones."""
    _, *parts = re.split(r"^CREATE OR REPLACE MACRO (\w+)", _sql("macros"), flags=re.MULTILINE)
    return {name: f"CREATE OR REPLACE MACRO {name}{body}" for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _macros_in(sql: str) -> set[str]:
    """Return the macros that a query names, and those that these use."""
    named, texts = set[str](), [sql]
    while texts:
        text = texts.pop()
        found = {name for name in _macros() if re.search(rf'\b{name}"?\s*\(', text, re.IGNORECASE)} - named
        named |= found
        texts += [_macros()[name] for name in found]
    return named


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


@cache
def _sql(name: str) -> str:
    """Return the definition of a view, or those of all macros."""
    return package_files("overnight.schemas.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


def _kind(statement: duckdb.Statement) -> str:
    """Return the type of a statement; DuckDB's enumeration lacks some types."""
    try:
        return statement.type.name
    except ValueError:
        return "something else"


def _sources(definitions: Sequence[str]) -> list[str]:
    """Return the tables of files that some views read, those first to which others refer."""
    read = {name for definition in definitions for name in _SOURCE.findall(definition)}
    first = {"interventions": None, "programs": None}
    return [source for source in first | query_guard.SOURCES if source in first or source in read]


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


def _relation(paths: Sequence[str], columns: dict[str, str]) -> str:
    """Return SQL that reads the files; columns that one lacks are null. Without files, it has no rows."""
    if not paths:
        nulls = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns.items())
        return f"SELECT {nulls} WHERE false"
    return f"FROM read_parquet([{', '.join(map(_quoted, paths))}], schema = {_map(columns)})"


def _map(columns: Mapping[str, str]) -> str:
    parts = (
        f"{_quoted(name)}: {{name: {_quoted(name)}, type: {_quoted(kind)}, default_value: NULL}}"
        for name, kind in columns.items()
    )
    return f"MAP {{{', '.join(parts)}}}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
