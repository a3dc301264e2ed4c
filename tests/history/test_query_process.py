"""Queries in a separate process: limits hold within any function, and answers are those of the database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from overnight.schemas.errors import EnvironmentFault, QueryError
from overnight.tasks.history import query_process
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.query_guard import Limits
from overnight.tasks.history.query_process import QueryProcess, resident_bytes
from overnight.testing.made import create
from tests.history.writer import ROOT

IN_ONE_FUNCTION = "SELECT length(repeat('x', 4000000000))"
"""Query that DuckDB cannot interrupt, since it checks for interrupts only between functions."""


@pytest.fixture(scope="module")
def history(grown: RunFiles) -> Path:
    return grown.directory.parents[1]


@pytest.fixture(scope="module")
def _shared(history: Path) -> Iterator[QueryProcess]:
    with QueryProcess(history) as queries:
        yield queries


@pytest.fixture
def queries(_shared: QueryProcess) -> QueryProcess:
    """Queries with a process; a test that ends it leaves a new one to the next."""
    _shared.wait_until_ready()
    return _shared


def pid_of(queries: QueryProcess) -> int:
    assert queries._child is not None
    return queries._child._process.pid


@pytest.mark.parametrize(
    "sql",
    [
        "FROM programs",
        "FROM runs",
        "SELECT 1 AS a, [1.5, NULL] AS b, {'x': 'y'} AS c, MAP {'k': 2} AS d, INTERVAL 1 DAY AS e, 2.50 AS f, now() IS "
        "NULL AS g, 170141183460469231731687303715884105727 AS h, '{}'::JSON AS i, uuid() IS NULL AS j, 'x'::BLOB AS k",
        "FROM programs WHERE false",
        "EXPLAIN FROM generations",
    ],
)
def test_answers_are_those_of_the_database(sql: str, history: Path, queries: QueryProcess):
    queries.query(sql)
    database = Database(history)
    first, again = database.query(sql), database.query(sql)  # whose plan is another one
    assert queries.query(sql).equals(again)
    assert again.schema == first.schema


def test_a_query_may_have_parameters(queries: QueryProcess):
    assert queries.query("SELECT ? AS a, ? AS b", ["x", None]).to_pylist() == [{"a": "x", "b": None}]


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT 1; SELECT 2", "FROM '/etc/passwd'", "SELECT '\udc80'"])
def test_errors_are_those_of_the_database_and_the_process_continues(sql: str, history: Path, queries: QueryProcess):
    process = pid_of(queries)
    with pytest.raises(QueryError) as expected:
        Database(history).query(sql)
    with pytest.raises(QueryError) as caught:
        queries.query(sql)
    assert str(caught.value) == str(expected.value)
    assert queries.query("SELECT 1 AS a").to_pylist() == [{"a": 1}]
    assert pid_of(queries) == process


def test_the_time_limit_holds_within_a_function_and_a_new_process_takes_over(queries: QueryProcess):
    process, begin = pid_of(queries), time.monotonic()
    with pytest.raises(QueryError, match=r"no answer within 0\.5 s"):
        queries.query(IN_ONE_FUNCTION, timeout_s=0.5)
    assert time.monotonic() - begin < 20
    assert resident_bytes(process) == 0, "the process has ended"
    assert queries.query("SELECT 1 AS a").to_pylist() == [{"a": 1}]


@pytest.mark.parametrize("sql", [IN_ONE_FUNCTION, "FROM range(1000000000)"])
def test_the_memory_limit_holds(queries: QueryProcess, monkeypatch: pytest.MonkeyPatch, sql: str):
    assert queries._child is not None
    monkeypatch.setattr(queries._child, "_max_bytes", resident_bytes(pid_of(queries)) + 2**28)
    with pytest.raises(QueryError, match="more than half of the memory"):
        queries.query(sql, timeout_s=120)


def test_a_process_killed_by_the_kernel_is_a_memory_error(queries: QueryProcess):
    os.kill(pid_of(queries), signal.SIGKILL)
    with pytest.raises(QueryError, match="half of the memory"):
        queries.query("SELECT 1")
    assert queries.query("SELECT 1 AS a").to_pylist() == [{"a": 1}]


def test_an_answer_that_cannot_be_read_ends_its_process_which_would_go_on_writing(
    queries: QueryProcess, monkeypatch: pytest.MonkeyPatch
):
    def unreadable(_: object) -> NoReturn:
        raise OSError("interrupted")

    with monkeypatch.context() as patched:
        patched.setattr("pyarrow.ipc.open_stream", unreadable)
        with pytest.raises(EnvironmentFault, match="the process that answers queries ended with"):
            queries.query("FROM range(1000000)")
    assert queries.query("SELECT 7 AS x").to_pylist() == [{"x": 7}]


def test_ctrl_c_ends_a_query_and_its_process(queries: QueryProcess, monkeypatch: pytest.MonkeyPatch):
    process = pid_of(queries)
    monkeypatch.setattr(query_process, "_POLL_S", 0.01)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        queries.query(IN_ONE_FUNCTION, timeout_s=60)
    assert resident_bytes(process) == 0


TELLING = [
    "FROM duckdb_settings()",
    "SELECT current_setting('allowed_paths')",
    "SELECT 'allowed_paths'.current_setting()",
    'SELECT main."current_setting"($$secret_directory$$)',
    "PIVOT (FROM duckdb_settings()) ON name USING max(value)",
    "PIVOT programs ON current_setting('allowed_paths')",
    "FROM pg_settings",
    "FROM pg_catalog.pg_settings",
    "FROM duckdb_views()",
    "FROM duckdb_views",
    "FROM duckdb_columns()",
    "FROM duckdb_functions()",
    "FROM duckdb_databases()",
    "FROM duckdb_secrets()",
    "FROM duckdb_extensions()",
    "FROM sqlite_master",
    "FROM pg_views",
    "FROM information_schema.tables",
    "SELECT list(pg_get_viewdef(range)) FROM range(30000)",
    "SELECT json_serialize_plan('FROM programs')",
    "EXPLAIN FROM programs",
    "EXPLAIN ANALYZE FROM programs",
    "EXPLAIN (ANALYZE, FORMAT json) FROM programs",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "SHOW DATABASES",
    "DESCRIBE programs",
    "FROM pragma_version()",
    "FROM pragma_table_info('programs')",
    "PRAGMA database_list",
    "FROM pragma_database_size()",
    "FROM which_secret('s3://a', 's3')",
    "FROM read_text('nothing')",
    "FROM 'runs/nothing.parquet'",
    "SELECT filename FROM programs",
    "SELECT getenv('HOME')",
    "FROM glob('*')",
    "SELECT CAST('x' AS INTEGER)",
]


def test_nothing_that_an_agent_can_ask_tells_a_path_of_this_machine(grown: RunFiles, history: Path):
    limits = Limits(("programs", "generations"), chars=1000, rows=100_000, answer_mib=100, memory_mib=512)
    secrets = [str(history), str(Path.home()), *history.parts[-2:]]
    (told,) = Database(history).rows("SELECT current_setting('allowed_paths') AS paths")
    assert any(secrets[0] in path for path in told["paths"]), "it is what DuckDB would tell"
    with QueryProcess(history, grown.run_id, limits) as queries:
        for sql in TELLING:
            try:
                answer = str(queries.query(sql).to_pylist())
            except QueryError as error:
                answer = f"{error.message} {error.remedy}"
            assert not [secret for secret in secrets if secret in answer], sql


def test_a_damaged_file_is_told_to_an_agent_by_its_place_in_the_history(tmp_path: Path):
    files = create(tmp_path / "somewhere")
    limits = Limits(("programs", "generations"), chars=1000, rows=10, answer_mib=1, memory_mib=512)
    (path,) = files.tables()["programs"]
    path.write_bytes(b"damaged" * 100)
    with (
        QueryProcess(files.backend.root, files.run_id, limits) as queries,
        pytest.raises(QueryError, match=f"'runs/{files.run_id}/") as caught,
    ):
        queries.query("FROM programs")
    assert "somewhere" not in str(caught.value)


ASK = """
import sys
from pathlib import Path
from overnight.tasks.history.query_process import QueryProcess
queries = QueryProcess(Path(sys.argv[1]))
queries.wait_until_ready()
print(queries._child._process.pid, flush=True)
queries.query(sys.argv[2])
"""


def test_the_process_ends_with_its_parent_even_within_a_query(history: Path):
    asking = subprocess.Popen(
        [
            sys.executable,
            "-c",
            ASK,
            history,
            "SELECT sum(a.range % b.range) FROM range(9999999) AS a, range(9999) AS b",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with asking:
        assert asking.stdout is not None
        process = int(asking.stdout.readline())
        asking.kill()
    end = time.monotonic() + 30
    while Path(f"/proc/{process}/statm").exists() and resident_bytes(process) and time.monotonic() < end:
        time.sleep(0.05)
    assert resident_bytes(process) == 0


def test_modules_in_the_working_directory_are_not_imported(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("json.py", "duckdb.py", "pyarrow.py"):
        (tmp_path / name).write_text("raise SystemExit('strange code runs')")
    monkeypatch.chdir(tmp_path)
    with QueryProcess(history) as queries:
        assert queries.query("SELECT 1 AS a").to_pylist() == [{"a": 1}]
