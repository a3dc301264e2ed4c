"""`overnight sql`: output formats, the shell on a terminal, limits and exit codes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

import pyarrow.parquet as pq
import pytest

import overnight.flows.cli.sql
from overnight.flows.formatting import score
from overnight.schemas.errors import UsageError
from overnight.schemas.views import MACROS, VIEWS, cookbook_questions
from overnight.tasks.history import query_process
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.query_process import QueryProcess
from overnight.tasks.report.number_format import gain_text, score_text
from overnight.testing.made import create, grow
from tests.command_server import start_command
from tests.flows.cli.conftest import Command

Sql = Callable[..., "subprocess.CompletedProcess[str]"]
FOREVER = "SELECT count(*) FROM range(1000000000) AS a, range(1000000000) AS b WHERE a.range + b.range = 7"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    history = tmp_path_factory.mktemp("history")
    grow(create(history, islands=3, prompts=4), 3)
    return history


@pytest.fixture(scope="module")
def queries(history: Path) -> Iterator[QueryProcess]:
    with QueryProcess(history) as queries:
        yield queries


@pytest.fixture
def sql(history: Path, queries: QueryProcess, here: Command, monkeypatch: pytest.MonkeyPatch) -> Sql:
    """A function that runs `overnight sql` in this process; one process answers the queries of all tests."""
    monkeypatch.setattr(query_process, "QueryProcess", lambda _: contextlib.nullcontext(queries))
    return lambda *arguments: here(["sql", *arguments], history)


TOO_LATE = ("timestamp '290000-01-01'", "timestamp 'infinity'", "date '5877641-06-24'", "[date 'infinity']")


@pytest.mark.parametrize(("value", "style"), [*zip(TOO_LATE, ("text", "csv", "jsonl", "json"), strict=True)])
def test_a_value_that_cannot_be_converted_is_refused_before_anything_is_written(sql: Sql, value: str, style: str):
    query = f"SELECT CASE WHEN range = 20000 THEN {value} END AS late FROM range(20001)"
    done = sql(query, "--format", style)
    assert done.returncode == 1
    assert "column 'late' of type" in done.stderr
    assert "::VARCHAR" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("value", "style"),
    [("map {[1]: 1}", "csv"), ("map {[1]: 1}", "json"), ("map {1.5::DECIMAL(5, 1): 1}", "jsonl")],
)
def test_a_map_without_a_json_form_is_refused(sql: Sql, value: str, style: str):
    done = sql(f"SELECT {value} AS it", "--format", style)
    assert (done.returncode, done.stdout) == (1, "")
    assert "::VARCHAR" in done.stderr
    assert "Traceback" not in done.stderr


def piped(history: Path, text: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `overnight sql` with piped input."""
    reading, writing = os.pipe()
    with open(reading) as given, TemporaryFile() as out, TemporaryFile() as errors:
        with open(writing, "wb") as pipe:
            pipe.write(text)
        environment = {**os.environ, "OVERNIGHT_HISTORY": str(history)}
        streams = (given.fileno(), out.fileno(), errors.fileno())
        code = start_command(["sql", *arguments], environment, streams).wait(60)
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read(), errors.read())


@pytest.mark.parametrize("dash", [["-"], []])
def test_a_query_can_be_piped_in(history: Path, dash: list[str]):
    query = b"-- How many?\nSELECT count(*) AS n\nFROM programs;\n"
    done = piped(history, query, *dash, "--format", "jsonl")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"n": 13})


def test_without_a_query_and_without_a_terminal_the_views_are_described(history: Path):
    assert b"position of the input, from 1" in piped(history, b" \n").stdout
    closed = subprocess.run(
        ["sh", "-c", 'exec "$0" -m overnight.flows.cli.main sql <&-', sys.executable],
        env={**os.environ, "OVERNIGHT_HISTORY": str(history)},
        capture_output=True,
        check=True,
    )
    assert b"position of the input, from 1" in closed.stdout


def test_a_silent_pipe_is_an_error_after_a_while(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    reading, writing = os.pipe()
    monkeypatch.setattr(overnight.flows.cli.sql, "_STDIN_TIMEOUT_S", 0.1)
    with open(reading) as silent, open(writing, "wb"):
        monkeypatch.setattr(sys, "stdin", silent)
        with pytest.raises(UsageError, match="nothing arrived on stdin") as caught:
            overnight.flows.cli.sql.sql(history=LocalBackend(tmp_path))
    assert "overnight sql -" in caught.value.remedy


def test_input_that_is_not_text_is_refused(history: Path):
    done = piped(history, b"\xff\xfe", "-")
    assert done.returncode == 2
    assert b"not UTF-8 text" in done.stderr
    assert b"Traceback" not in done.stderr


def test_after_a_table_its_rows_and_time_are_printed_to_stderr(sql: Sql):
    done = sql("SELECT generation FROM generations LIMIT 1")
    assert re.fullmatch(r"1 row in \d+\.\d+ s\n", done.stderr)


def test_nested_values_are_written_readably_in_tables(sql: Sql):
    written = {
        "[1, 2]": "[1, 2]",
        "[[1, 2], [3, 4]]": "[[1, 2], [3, 4]]",
        "[{'program': 'a', 'train': 1 / 3}]": "[{program: a, train: 0.333333}]",
        "MAP {'scored': 40, 'crashed': 2}": "{scored: 40, crashed: 2}",
        "[INTERVAL '1 day 2 seconds']": "[1 d 2 s]",
        "NULL": "",
    }
    columns = ", ".join(f"{value} AS c{number}" for number, value in enumerate(written))
    row = sql(f"SELECT {columns}").stdout.splitlines()[3]
    assert re.split(r" {3,}", row.strip()) == [text for text in written.values() if text]


@pytest.mark.parametrize(
    ("style", "header"),
    [
        ("text", "score   score_2   score_1"),
        ("jsonl", '{"score":1.5,"score_2":2.5,"score_1":3.5}'),
        ("csv", "score,score_2,score_1"),
        ("markdown", "score | score_2"),
    ],
)
def test_columns_of_the_same_name_are_all_written(sql: Sql, style: str, header: str):
    written = sql("SELECT 1.5 AS score, 2.5 AS score, 3.5 AS score_1", "--format", style).stdout
    assert header in written
    assert re.findall(r"\d\.5", written) == ["1.5", "2.5", "3.5"]


def test_bars_of_names_and_values_leave_a_markdown_table_its_columns(sql: Sql):
    written = sql("""SELECT 'c|d' AS "a|b", 2 AS e""", "--format", "markdown").stdout
    assert written.splitlines() == ["| a\\|b | e |", "| --- | --- |", "| c\\|d | 2 |"]


EVERY_TYPE = """
SELECT sum(tokens_in) AS whole, 2.50 AS decimal, MAP {'scored': 1} AS map,
    INTERVAL '1 month 2 days 1.5 seconds' AS took, [INTERVAL 1 DAY] AS many,
    NULL::INTERVAL AS nothing, 170141183460469231731687303715884105727 AS large
FROM programs
"""


def test_values_of_every_type_are_written_as_json(sql: Sql):
    tokens = json.loads(sql("SELECT sum(tokens_in)::BIGINT AS n FROM programs", "--format", "jsonl").stdout)["n"]
    expected = {
        "whole": tokens,
        "decimal": 2.5,
        "map": {"scored": 1},
        "took": "P1M2DT1.5S",
        "many": ["P0M1DT0S"],
        "nothing": None,
        "large": "170141183460469231731687303715884105727",
    }
    assert json.loads(sql(EVERY_TYPE, "--format", "json").stdout) == [expected]
    assert json.loads(sql(EVERY_TYPE, "--format", "jsonl").stdout) == expected
    (row,) = csv.DictReader(sql(EVERY_TYPE, "--format", "csv").stdout.splitlines())
    assert (row["map"], row["took"], row["many"]) == ('{"scored":1}', "P1M2DT1.5S", '["P0M1DT0S"]')


def test_csv_quotes_what_has_to_be_quoted_alone(sql: Sql):
    query = """
    SELECT 'an-id' AS id, 'a,b' AS comma, 'a"b' AS quote, e'a\nb' AS lines, '' AS empty, NULL::VARCHAR AS nothing,
        -0.5 AS number, true AS yes, timestamp '2026-01-01 22:00:00' AS at, 'ab'::BLOB AS raw
    """
    header = "id,comma,quote,lines,empty,nothing,number,yes,at,raw"
    values = 'an-id,"a,b","a""b","a\nb","",,-0.5,true,2026-01-01 22:00:00.000000,ab'
    assert sql(query, "--format", "csv").stdout == f"{header}\n{values}\n"


def test_a_score_of_minus_zero_is_shown_as_zero(sql: Sql):
    assert "-0" not in sql("SELECT '-0.0'::DOUBLE AS score").stdout
    assert score(-0.0) == score_text(-0.0) == "0"
    assert gain_text(-0.0) == "+0"


def test_parquet_holds_the_columns_of_the_query_intervals_as_text_and_refuses_nested_ones(history: Path):
    took = piped(history, b"SELECT *, INTERVAL 5 SECONDS AS took FROM programs", "--format", "parquet").stdout
    result = pq.read_table(io.BytesIO(took))
    assert result.num_rows == 13
    assert result.column_names == [*VIEWS["programs"].columns, "took"]
    assert result["took"][0].as_py() == "P0M0DT5S"
    refused = piped(history, b"SELECT [INTERVAL 1 DAY] AS many", "--format", "parquet")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"name::VARCHAR" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["SELEC 1"], 1, "Parser Error"),
        (["COPY runs TO 'x.csv'"], 1, "expected one query, got COPY"),
        (["SELECT 1", "--format", "xml"], 2, "xml"),
        (["SELECT 1", "--timeout", "0"], 2, "more than 0"),
        (["--describe", "nothing"], 2, "no view 'nothing'"),
        ([FOREVER, "--timeout", "0.3"], 1, "no answer within 0.3 s"),
    ],
)
def test_errors_have_an_exit_code_and_a_message(sql: Sql, arguments: list[str], code: int, message: str):
    done = sql(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_ctrl_c_ends_a_query_without_traceback(history: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "overnight.flows.cli.main", "sql", FOREVER],
        env={**os.environ, "OVERNIGHT_HISTORY": str(history)},
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_every_column_and_macro_is_described(sql: Sql):
    shown = sql("--describe").stdout
    for macro in MACROS.values():
        assert macro.call in shown
    rows = json.loads(sql("--describe", "--format", "json").stdout)
    assert {(row["view"], row["column"], row["meaning"]) for row in rows} == {
        (name, column, meaning) for name, view in VIEWS.items() for column, meaning in view.columns.items()
    }
    one = sql("--describe", "scores", "--format", "json").stdout
    assert [row["column"] for row in json.loads(one)] == list(VIEWS["scores"].columns)


def test_the_cookbook_is_printed(sql: Sql):
    shown = sql("--cookbook").stdout
    for question, query in cookbook_questions().items():
        assert f"-- {question}\n{query};\n" in shown


class Terminal:
    """An SQL shell on a pseudo-terminal."""

    def __init__(self, history: Path, home: Path) -> None:
        pid, self._terminal = pty.fork()
        if not pid:
            environment = {"OVERNIGHT_HISTORY": str(history), "XDG_STATE_HOME": str(home), "TERM": "dumb"}
            arguments = [sys.executable, "-m", "overnight.flows.cli.main", "sql"]
            os.execve(sys.executable, arguments, {**os.environ, **environment})
        self.pid = pid
        self._shown = ""
        self._ended: int | None = None

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def until(self, awaited: str, timeout_s: float = 20) -> str:
        """Return the output up to and including the awaited text; keep the rest for the next call."""
        end = time.monotonic() + timeout_s
        while awaited not in self._shown:
            assert time.monotonic() < end, f"waited for {awaited!r}, saw {self._shown!r}"
            if select.select([self._terminal], [], [], 0.1)[0]:
                self._shown += os.read(self._terminal, 65536).decode()
        seen, found, self._shown = self._shown.partition(awaited)
        return seen + found

    def exit_code(self, patience_s: float = 10) -> int:
        """Wait for the shell to end, kill it after `patience_s` seconds, and return its exit code."""
        end = time.monotonic() + patience_s
        while self._ended is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self._ended = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                end = math.inf
            else:
                time.sleep(0.05)
        return self._ended


@pytest.fixture
def shell(history: Path, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(history, tmp_path)
    try:
        yield opened
    finally:
        opened.exit_code(patience_s=0)


def test_the_shell_answers_completes_continues_after_errors_and_saves_its_lines(
    shell: Terminal, history: Path, tmp_path: Path
):
    shell.until("overnight> ")
    shell.type("SELECT count(*) AS n,\n")
    shell.until("...> ")
    shell.type("7 * 6 AS answer FROM popul\t;\n")
    seen = shell.until("overnight> ")
    assert "FROM population" in seen
    assert "42" in seen
    assert "1 row in " in seen
    shell.type("SELEC 1;\n")
    shell.until("Parser Error")
    shell.until("overnight> ")
    shell.type("SELECT p.finish_r\t FROM programs AS p LIMIT 1;\n")
    assert "p.finish_reason" in shell.until("1 row in ")
    for typed, shown in {
        ".format json": "json",
        ".describe scores": "position of the input",
        ".nonsense": "no command .nonsense",
        ".timeout 0": ".timeout takes seconds, more than 0",
        ".format parquet": ".format takes text|csv|json|jsonl|markdown",
        "help": "leave",
        "SELECT 5 AS five;": '[{"five":5}]',
    }.items():
        shell.until("overnight> ")
        shell.type(f"{typed}\n")
        shell.until(shown)
    shell.until("overnight> ")
    shell.type(f"{FOREVER};\n")
    time.sleep(1)
    shell.type("\x03")
    assert "interrupted" in shell.until("overnight> ")
    shell.type(".timeout 0.2\n")
    shell.until("overnight> ")
    shell.type(f"{FOREVER};\n")
    assert "no answer within 0.2 s" in shell.until("overnight> ")
    shell.type("exit\n")
    assert shell.exit_code() == 0
    saved = (tmp_path / "overnight" / "sql_history").read_text()
    assert "7 * 6 AS answer FROM population" in saved
