"""`overnight sql`: the history answers SQL."""

from __future__ import annotations

import select
import sys
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.output_formats import Format, write_result
from flows.cli.printing import DEFAULT_HISTORY, History, out, say, table
from flows.cli.terminal import is_terminal
from schemas.errors import UsageError

if TYPE_CHECKING:
    from tasks.history.query_process import QueryProcess

_TIMEOUT_S = 300.0
_PATIENCE_S = 5.0
"""For the first byte of what is piped in."""

_COLUMNS = """
SELECT table_name AS view, column_name AS column, data_type AS type, comment AS meaning
FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal AND (? IS NULL OR table_name = ?)
ORDER BY table_name, column_index
"""


def sql(
    query: Annotated[
        str | None,
        Parameter(
            help="one query, or `-` for stdin; without it, what is piped in, or a shell", allow_leading_hyphen=True
        ),
    ] = None,
    /,
    *,
    format: Annotated[Format, Parameter(help="how the answer is written")] = "table",  # noqa: A002
    timeout: Annotated[float, Parameter(help="seconds that a query may take")] = _TIMEOUT_S,
    describe: Annotated[bool, Parameter(help="describe the columns of a view, or of all, and the macros")] = False,
    cookbook: Annotated[bool, Parameter(help="questions that people ask, with their SQL")] = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Ask the history in SQL, read-only. Views: runs, nights, generations, programs, population, scores."""
    from tasks.history.query_process import QueryProcess
    from tasks.history.remote.mirror import place_of

    if timeout <= 0:
        raise UsageError(f"--timeout takes seconds, more than 0, got {timeout:g}")
    if cookbook:
        from schemas.cookbook import text

        out().print(text(), markup=False, soft_wrap=True, end="")
        return
    if not (history / "runs").is_dir():
        say(f"no run in {place_of(history)} yet")
    with QueryProcess(history) as database:
        _answer(database, query, format, timeout, describe)


def _answer(database: QueryProcess, query: str | None, style: Format, timeout_s: float, describe: bool) -> None:
    """Answer one query, describe the views, or open the shell."""
    if query == "-":
        query = _stdin()
    elif query is None and not describe:
        query = _piped()
    if query is None and not describe and is_terminal(sys.stdin) and is_terminal(sys.stdout):
        from flows.cli.sql_shell import Shell

        Shell(database, style, timeout_s).run()
    elif query is None or describe:
        describe_views(database, query, style)
    else:
        run_query(database, query, style, timeout_s)


def _piped() -> str | None:
    """What is piped in, if anything: services and cron run commands with an empty stdin, or one that stays silent.

    Raises:
        UsageError: If nothing comes and it stays open.
    """
    if sys.stdin is None or is_terminal(sys.stdin):
        return None
    if not select.select([sys.stdin], [], [], _PATIENCE_S)[0]:
        raise UsageError(
            f"no query, and nothing came on stdin within {_PATIENCE_S:g} s",
            remedy="`overnight sql -` waits for it, `overnight sql --describe` shows the views.",
        )
    return _stdin().strip() or None


def _stdin() -> str:
    if sys.stdin is None:
        return ""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"what came on stdin is no text: {error}") from error


def run_query(database: QueryProcess, query: str, style: Format, timeout_s: float) -> None:
    """Writes the answer to stdout and, beside a table, its size and time to stderr."""
    database.wait_until_ready()
    begin = time.monotonic()
    answer = database.query(query, timeout_s=timeout_s)
    seconds = time.monotonic() - begin
    write_result(answer, style)
    if style == "table":
        say(f"{answer.num_rows} row{'s' * (answer.num_rows != 1)} in {seconds:.3f} s")


def describe_views(database: QueryProcess, view: str | None, style: Format) -> None:
    """The columns of one view or of all, with what they mean; of all, the macros too.

    Raises:
        UsageError: If there is no such view.
    """
    from schemas.views import MACROS, VIEWS

    if view is not None and view not in VIEWS:
        raise UsageError(f"no view {view!r}", remedy=f"There are: {', '.join(VIEWS)}")
    columns = database.query(_COLUMNS, [view, view])
    if style != "table":
        write_result(columns, style)
        return
    rows = columns.to_pylist()
    for name in VIEWS if view is None else (view,):
        shown = [(row["column"], row["type"], row["meaning"]) for row in rows if row["view"] == name]
        out().print(table((name, "type", "meaning"), shown, title=f"{name}: {VIEWS[name].description}"))
    if view is None:
        out().print(table(("macro", "answers"), [(macro.call, macro.description) for macro in MACROS.values()]))
        say("""for example: overnight sql "FROM best_programs('last')"; more with --cookbook""")
