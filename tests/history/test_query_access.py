"""Queries read the tables of the history and nothing else, and end when they take too long or too much."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from overnight.schemas.errors import ExitCode, QueryError
from overnight.tasks.history import database as database_module
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.query_guard import Limits

# Access limits


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS one",
        "FROM runs",
        "WITH a AS (FROM programs) SELECT count(*) FROM a",
        "VALUES (1)",
        "DESCRIBE programs",
        "SUMMARIZE generations",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM programs",
        "explain analyze FROM programs",
        "EXPLAIN (FORMAT json) FROM programs",
        "SELECT unnest(scores) FROM programs -- and a comment; with a semicolon",
        "FROM range(3), programs;",
        "SELECT (SELECT max(score) FROM programs) / 2 AS half",
        "PIVOT programs ON outcome USING count(*) GROUP BY model",
        "PIVOT programs ON outcome, model",
        "PIVOT programs ON outcome IN ('scored', 'crashed'), model USING max(score) GROUP BY generation",
        "WITH late AS (FROM programs WHERE generation > 4) PIVOT late ON model || ',' USING count(*)",
        "PIVOT (FROM programs) ON 'a, USING' || model -- USING nothing",
        "EXPLAIN PIVOT programs ON outcome USING count(*)",
        "UNPIVOT (SELECT wall_s, cpu_s FROM programs) ON wall_s, cpu_s",
        "FROM Files.Attempts",
        'SELECT count(*) FROM "memory".main."Runs", memory.files.programs',
        "WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM N WHERE n < 3) FROM n",
        "SHOW programs",
        "DESCRIBE files.programs",
        "SHOW DATABASES",
        "FROM files /* a name in two parts */ . nights",
    ],
)
def test_queries_are_answered(database: Database, sql: str):
    assert database.query(sql).num_columns > 0


def test_a_pivot_has_a_column_for_each_value(database: Database):
    outcomes = database.rows("SELECT DISTINCT outcome FROM programs ORDER BY 1")
    table = database.query("PIVOT programs ON outcome USING count(*) GROUP BY model")
    assert table.column_names == ["model", *(row["outcome"] for row in outcomes)]
    by_model = database.rows("SELECT model, count(*) FILTER (outcome = 'scored') AS n FROM programs GROUP BY model")
    assert {row["model"]: row["scored"] for row in table.to_pylist()} == {row["model"]: row["n"] for row in by_model}


REFUSED = [
    "COPY (SELECT 1) TO '{history}/evil.parquet'",
    "COPY programs TO '/tmp/evil.parquet'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{history}/evil.parquet'",
    "EXPLAIN /* x */ ANALYZE COPY (SELECT 1) TO '{history}/evil.parquet'",
    "EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO '{history}/evil.parquet'",
    "EXPLAIN ANALYZE CREATE TABLE evil AS SELECT 1",
    "EXPLAIN (ANALYZE /* ) SELECT 1 -- */ ) COPY runs TO '{run}/run.parquet' (USE_TMP_FILE false)",
    "EXPLAIN (FORMAT json, ANALYZE /* ) SELECT 1 -- */ ) CREATE TABLE evil AS SELECT 1",
    "SELECT 1\0; COPY (SELECT 1) TO '{run}/run.parquet' (USE_TMP_FILE false)",
    "ATTACH '{history}/evil.db'",
    "ATTACH '/tmp/evil.db' AS evil",
    "INSERT INTO runs VALUES (1)",
    "INSERT INTO no_nights VALUES (1)",
    "UPDATE runs SET seed = 1",
    "DELETE FROM runs",
    "WITH gone AS (DELETE FROM runs RETURNING *) FROM gone",
    "CREATE TABLE evil (a INTEGER)",
    "CREATE OR REPLACE VIEW runs AS SELECT 1",
    "CREATE MACRO evil() AS 1",
    "DROP VIEW runs",
    "WITH gone AS (INSERT INTO runs SELECT 1 RETURNING *) FROM gone",
    "WITH gone AS (UPDATE runs SET seed = 1 RETURNING *) FROM gone",
    "WITH evil AS (COPY runs TO '{run}/run.parquet' (USE_TMP_FILE false)) FROM evil",
    "WITH evil AS (COPY (SELECT 1) TO '{run}/evil.csv' (USE_TMP_FILE false)) FROM evil",
    "SELECT (WITH evil AS (COPY runs TO '{run}/run.parquet' (USE_TMP_FILE false)) SELECT count(*) FROM evil)",
    "SUMMARIZE (WITH evil AS (COPY runs TO '{run}/run.parquet' (USE_TMP_FILE false)) FROM evil)",
    "EXPLAIN ANALYZE WITH evil AS (COPY runs TO '{run}/run.parquet' (USE_TMP_FILE false)) FROM evil",
    "WITH evil AS (COPY runs TO '{run}/run.parquet' (USE_TMP_FILE false)) PIVOT evil ON Count",
    "WITH evil AS (COPY runs TO '{run}/run.parquet' (USE_TMP_FILE false)) PIVOT evil ON Count IN (1)",
    "PIVOT (WITH evil AS (COPY runs TO '{run}/run.parquet' (USE_TMP_FILE false)) FROM evil) ON Count",
    "COPY (PIVOT programs ON outcome) TO '{run}/run.parquet' (USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (PIVOT programs ON outcome) TO '{run}/run.parquet' (USE_TMP_FILE false)",
    "CREATE TEMP TABLE evil AS PIVOT programs ON outcome",
    "INSERT INTO runs PIVOT programs ON outcome",
    "PREPARE evil AS PIVOT programs ON outcome",
    "SET VARIABLE evil = (SELECT count(*) FROM (PIVOT programs ON outcome))",
    "FROM read_csv('/etc/passwd')",
    "FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "FROM read_text('{history}/runs/*/lock')",
    "FROM READ_TEXT('{history}/runs/*/lock')",
    "FROM read_blob('{history}/runs/*/run.parquet')",
    "FROM read_csv('{history}/runs/*/paid/*.jsonl')",
    "FROM '{history}/runs/*/run.parquet'",
    "WITH a AS (FROM read_text('{history}/runs/*/lock')) SELECT (SELECT count(*) FROM a)",
    "DESCRIBE FROM read_text('{history}/runs/*/lock')",
    "EXPLAIN ANALYZE FROM read_text('{history}/runs/*/lock')",
    "FROM query('FROM read_text(''{history}/runs/*/lock'')')",
    "FROM glob('{history}/**')",
    "FROM glob('/etc/*')",
    "FROM sniff_csv('/etc/passwd')",
    'FROM "{run}/paid/1".jsonl',
    'FROM "{run}/paid"."1".jsonl',
    'SUMMARIZE "{run}/paid/1".jsonl',
    'FROM (SUMMARIZE "{run}/paid"."1".jsonl)',
    'DESCRIBE "{run}/paid/1".jsonl',
    'SHOW "{run}/paid/1".jsonl',
    'PIVOT "{run}/paid/1".jsonl ON text',
    """PIVOT "{run}/paid/1".jsonl ON text IN ('a')""",
    'WITH a AS (FROM "{run}/paid/1".jsonl) FROM a',
    'SELECT (SELECT count(*) FROM "{run}/paid/1".jsonl)',
    'FROM (WITH "{run}/paid/1.jsonl" AS (SELECT 1) SELECT 2), "{run}/paid/1.jsonl"',
    'FROM (WITH jsonl AS (SELECT 1) SELECT 2), "{run}/paid/1".jsonl',
    "FROM information_schema.tables",
    "SELECT 1; SELECT 2",
    "FROM runs; COPY runs TO '{history}/evil.csv'",
    "SET memory_limit = '1GB'",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FROM 'run.parquet'",
    "FROM arrow_scan(1, 2, 3)",
    "FROM json_execute_serialized_sql('x')",
    "FROM seq_scan('programs')",
    "FROM enable_logging()",
    "FROM read_duckdb('{history}/x.db')",
    "FROM parquet_file_metadata('{history}/runs/*/run.parquet')",
    "SELECT (SELECT count(*) FROM read_text('/etc/passwd')) AS n FROM runs ORDER BY ALL",
    "PIVOT (FROM read_text('/etc/passwd')) ON filename USING count(*)",
    "EXPORT DATABASE '{history}/evil'",
    "IMPORT DATABASE '{history}'",
    "FROM histogram('{history}/runs/*/run.parquet', seed)",
    "FROM histogram_values('{history}/files.csv', secret)",
    "FROM query_table(['runs'])",
    "FROM query('SELECT 1')",
    "SELECT getenv('HOME')",
    "FROM (SUMMARIZE '/etc/passwd')",
    "DESCRIBE '/etc/passwd'",
    "PIVOT '/etc/passwd' ON a",
    "PIVOT programs ON (SELECT max(content) FROM read_text('/etc/passwd'))",
    "PIVOT programs ON model USING max((SELECT max(content) FROM read_text('/etc/passwd')))",
    "WITH a AS (FROM read_text('{history}/runs/*/lock')) PIVOT a ON content",
    "EXPLAIN ANALYZE PIVOT read_text('{history}/runs/*/lock') ON content",
    "PIVOT programs ON program_id || generation; COPY runs TO '{history}/evil.csv'",
    "PIVOT programs ON model; PIVOT programs ON outcome",
    "PIVOT programs ON",
    "SELECT (SELECT max(content) FROM read_text('/etc/passwd'))",
    "SELECT list_transform([1], lambda x: (SELECT max(content) FROM read_text('/etc/passwd')))",
    "FROM runs POSITIONAL JOIN read_text('/etc/passwd')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "FROM which_secret('s3://a', 's3')",
    "FROM pragma_show('/etc/passwd')",
    "FROM arrow_scan(0, 0, 0)",
    "FROM pandas_scan(0)",
    "EXPLAIN ANALYZE COPY runs TO 'x'",
    "EXPLAIN (ANALYZE) FROM '/etc/passwd'",
    "UPDATE EXTENSIONS",
    "CHECKPOINT",
    "BEGIN",
    "PREPARE evil AS SELECT 1",
    "USE memory",
    "",
    "   -- nothing",
    "SELECT '\udcff'",
    "SELEC 1",
    "SELECT nothing FROM nowhere",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_anything_but_a_query_of_the_history_is_refused_and_nothing_is_written(
    grown: RunFiles, database: Database, sql: str
):
    history = grown.directory.parents[1]
    (grown.directory / "lock").write_text("secret")
    (grown.directory / "paid").mkdir(exist_ok=True)
    (grown.directory / "paid" / "1.jsonl").write_text('{"text": "secret"}')
    before = {path: path.stat().st_mtime_ns for path in history.rglob("*")}
    with pytest.raises(QueryError) as caught:
        database.query(sql.format(history=history, run=grown.directory))
    assert caught.value.exit_code is ExitCode.FAILED
    assert caught.value.remedy
    assert {path: path.stat().st_mtime_ns for path in history.rglob("*")} == before
    assert not Path("/tmp/evil.parquet").exists()
    tables = database.rows("SELECT name FROM (SHOW TABLES) WHERE name IN ('evil', 'runs')")
    assert tables == [{"name": "runs"}], "the database still answers"


LIMITS = Limits(("programs", "population", "generations"), chars=1000, rows=20, answer_mib=1, memory_mib=512)


@pytest.fixture(scope="module")
def narrow(grown: RunFiles) -> Database:
    """The views of one run that its agents may query."""
    return Database(grown.backend.root, grown.run_id, LIMITS)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM programs JOIN generations USING (generation)",
        "WITH good AS (FROM programs WHERE score > 0) SELECT max(score) FROM good",
        "SUMMARIZE main.population",
        "SELECT unnest(scores) FROM programs LIMIT 1",
        "PIVOT programs ON outcome",
        "EXPLAIN ANALYZE FROM programs",
        "EXPLAIN(FROM programs)",
        "EXPLAIN ANALYZE (FORMAT json) (FROM programs) UNION ALL FROM programs -- EXPLAIN",
        "EXPLAIN /* a comment */ FROM programs",
        "SHOW TABLES",
    ],
)
def test_a_database_of_some_views_answers_queries_of_them(narrow: Database, sql: str):
    assert narrow.query(sql).num_columns > 0


@pytest.mark.parametrize(
    "sql",
    [
        "FROM runs",
        "FROM main.nights",
        "FROM scores",
        "FROM files.programs",
        "FROM best_programs('x')",
        "DESCRIBE runs",
        "SELECT (SELECT specification FROM runs LIMIT 1)",
        "WITH runs AS (SELECT 1) FROM runs",
        "SELECT b.* FROM (WITH runs AS (SELECT 1) FROM runs) AS a, runs AS b",
        "EXPLAIN FROM runs",
        "PIVOT runs ON problem",
        "FROM 'run.parquet'",
        "FROM files.runs",
        "PIVOT files.programs ON model",
        "FROM '{run}/run.parquet'",
        "WITH evil AS (COPY programs TO '{run}/run.parquet' (USE_TMP_FILE false)) FROM evil",
        'WITH a AS (WITH "{file}" AS (SELECT 1) SELECT 1) FROM "{file}"',
        'FROM "{file}" WHERE 1 = (WITH "{file}" AS (SELECT 1) SELECT 1)',
        'WITH "{file}" AS (FROM "{file}") FROM "{file}"',
        "SHOW ALL TABLES",
        "FROM (SHOW ALL TABLES)",
        "DESCRIBE",
        "SHOW TABLES FROM files",
        "SELECT pg_get_viewdef(range) FROM range(10000)",
        "SELECT pg_catalog.PG_GET_VIEWDEF(1)",
        "SELECT current_setting('allowed_paths')",
    ],
)
def test_a_database_of_some_views_refuses_all_others_under_any_name(narrow: Database, grown: RunFiles, sql: str):
    file = next(grown.directory.rglob("generation.parquet"))
    with pytest.raises(QueryError):
        narrow.query(sql.format(run=grown.directory, file=file))


def test_no_name_of_a_with_opens_the_catalog_of_duckdb(narrow: Database):
    narrow.query("FROM programs")
    found = narrow._connection.execute("SELECT view_name FROM duckdb_views() WHERE internal").fetchall()
    assert ("sqlite_master",) in found
    for (name,) in found:
        with pytest.raises(QueryError):
            narrow.query(f"WITH a AS (WITH {name} AS (SELECT 1) SELECT 1) FROM {name}")


EVIL = "WITH w AS (COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false))\nSELECT 1"


@pytest.mark.parametrize(
    "sql",
    [
        f"--\nEXPLAIN ANALYZE {EVIL}\n",
        f"--\r\nEXPLAIN ANALYZE {EVIL}\n",
        f"-- EXPLAIN\nEXPLAIN ANALYZE {EVIL}",
        f"--\n\u00a0EXPLAIN ANALYZE {EVIL}",
        f"--\nEXPLAIN (ANALYZE, FORMAT json) {EVIL}",
        f"--\nEXPLAIN (ANALYZE) {EVIL}",
        f"/*\nEXPLAIN */ EXPLAIN ANALYZE {EVIL}",
        f"/* EXPLAIN ANALYZE */ EXPLAIN ANALYZE {EVIL}",
        f"/**/EXPLAIN/**/ANALYZE {EVIL}",
        f"\u2003EXPLAIN ANALYZE {EVIL}",
        f"EXPLAIN\u00a0ANALYZE {EVIL}",
        f"EXPLAIN --\nANALYZE {EVIL}",
        f"EXPLAIN ANALYZE --\n{EVIL}",
        f"EXPLAIN ANALYZE /* /* */ SELECT 1 -- */ */ {EVIL}",
        f"EXPLAIN ANALYZE /* /* */ {EVIL} -- */",
        f"EXPLAIN EXPLAIN ANALYZE {EVIL}",
        f"EXPLAIN (ANALYZE, FORMAT 'json') {EVIL}",
        f"EXPLAIN (FORMAT json, ANALYZE true) {EVIL}",
        f"EXPLAIN ANALYSE {EVIL}",
        f"EXPLAIN (\nANALYZE --)\n) {EVIL}",
        f"EXPLAIN SELECT 1; EXPLAIN ANALYZE {EVIL}",
        f";EXPLAIN ANALYZE {EVIL}",
        f"EXPLAIN;{EVIL}",
        f"SELECT 1 -- EXPLAIN\n;EXPLAIN ANALYZE {EVIL}",
        f"SELECT 1 --\0\n; EXPLAIN ANALYZE {EVIL}",
        f"EXPLAIN ANALYZE ({EVIL})",
        f"EXPLAIN ANALYZE {EVIL} UNION SELECT 2",
        f"--\nEXPLAIN ANALYZE FROM ({EVIL}), (PIVOT programs ON outcome)",
        f"EXPLAIN ANALYZE FROM ({EVIL}) PIVOT programs ON outcome",
        f"--\nEXPLAIN ANALYZE {EVIL[:-8]} PIVOT programs ON outcome",
        f"/* EXPLAIN */ {EVIL[:-8]} PIVOT programs ON (SELECT 1)",
        f"DESCRIBE {EVIL}",
        f"SUMMARIZE {EVIL}",
    ],
)
def test_nothing_but_the_text_that_was_checked_runs(narrow: Database, grown: RunFiles, sql: str):
    narrow.query("FROM programs")
    files = [path for path in grown.backend.root.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    file = next(path for path in files if path.name == "generation.parquet")
    with pytest.raises(QueryError):
        narrow.query(sql.format(file=file))
    assert {path: path.read_bytes() for path in grown.backend.root.rglob("*") if path.is_file()} == before


def test_duckdb_itself_knows_no_other_file_and_no_other_view(narrow: Database, grown: RunFiles):
    narrow.query("FROM programs")
    for sql in ("FROM runs", "FROM files.runs", f"FROM '{grown.run}'", "FROM the_run('last')"):
        with pytest.raises(duckdb.Error):
            narrow._connection.execute(sql)


def test_an_answer_under_limits_is_its_beginning(narrow: Database):
    assert narrow.query("FROM programs").num_rows == 20 < narrow.rows("SELECT count(*) AS n FROM programs")[0]["n"]
    assert narrow.rows("SELECT range FROM range(10000000000)") == [{"range": place} for place in range(20)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (f"SELECT '{'x' * 1000}'", "the query has 1009 characters, more than 1000"),
        ("SELECT repeat('x', 100000) FROM range(20)", "more than 1 MiB"),
        ("SELECT count(DISTINCT repeat('x', 9999) || range) FROM range(1000000)", "more than 512 MiB of the memory"),
    ],
)
def test_a_query_over_its_limits_is_refused(narrow: Database, sql: str, message: str):
    with pytest.raises(QueryError, match=message):
        narrow.query(sql)
    assert narrow.query("FROM programs").num_rows == 20


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{outside}/evil.csv'",
        "ATTACH '{outside}/evil.db'",
        "FROM read_text('{outside}/key')",
        "FROM '{outside}/key.csv'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "RESET lock_configuration",
    ],
)
def test_duckdb_itself_refuses_files_if_the_guard_is_bypassed(tmp_path: Path, database: Database, sql: str):
    (tmp_path / "key").write_text("secret")
    (tmp_path / "key.csv").write_text("secret")
    with pytest.raises(duckdb.Error):
        database._connection.execute(sql.format(outside=tmp_path)).fetchall()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.csv"]


def test_python_variables_of_the_caller_are_not_tables(database: Database):
    secret = pa.table({"key": ["sk-123"]})
    assert secret.num_rows
    for name in ("secret", *inspect.signature(database.query).parameters):
        with pytest.raises(QueryError):
            database.query(f'FROM "{name}"')


def test_a_query_takes_parameters(grown: RunFiles, database: Database):
    assert database.rows("SELECT run_id FROM runs WHERE run_id = ?", [grown.run_id]) == [{"run_id": grown.run_id}]
    assert database.rows("FROM runs WHERE run_id = ?", ["' OR 1 = 1 --"]) == []
    with pytest.raises(QueryError):
        database.query("FROM runs WHERE run_id = ?")


def test_ctrl_c_during_a_query_is_no_error_of_it(database: Database):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        database.query("SELECT sum(hash(a.range)) FROM range(300000) AS a, range(900) AS b WHERE a.range % 7 < b.range")
    assert database.rows("SELECT 1 AS one") == [{"one": 1}]


def test_a_query_over_the_memory_limit_is_an_error_and_spills_nothing(
    grown: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(database_module._CONFIG, "memory_limit", "50MB")
    small = Database(grown.directory.parents[1])
    with pytest.raises(QueryError, match="needs more than half of the memory") as caught:
        small.query("SELECT count(DISTINCT range::VARCHAR || 'x') FROM range(20000000)")
    assert "fewer" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []
    assert small.rows("SELECT count(*) AS n FROM runs") == [{"n": 1}]
