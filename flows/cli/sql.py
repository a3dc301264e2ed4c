"""`overnight sql`: query the history in SQL, once or in a shell."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.output_formats import Format
from flows.cli.printing import DEFAULT_HISTORY, History, say
from flows.cli.queries import describe_views, print_cookbook, run_query
from flows.cli.terminal import is_terminal
from schemas.errors import UsageError

if TYPE_CHECKING:
    from schemas.history_backend import HistoryBackend
    from tasks.history.query_process import QueryProcess

_TIMEOUT_S = 300.0
_STDIN_TIMEOUT_S = 5.0
"""Seconds to wait for the first byte of piped input."""


def sql(
    query: Annotated[
        str | None,
        Parameter(
            help="one query, or `-` for stdin; by default the piped input, or a shell on a terminal",
            allow_leading_hyphen=True,
        ),
    ] = None,
    /,
    *,
    format: Annotated[Format, Parameter(help="output format")] = "table",  # noqa: A002
    timeout: Annotated[float, Parameter(help="seconds that a query may take")] = _TIMEOUT_S,
    describe: Annotated[
        bool, Parameter(help="describe the columns of one view, or of all views, and the macros")
    ] = False,
    cookbook: Annotated[bool, Parameter(help="show common questions with their SQL")] = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Query the history in SQL, read-only. Views: runs, nights, generations, programs, population, scores."""
    from tasks.history.query_process import QueryProcess

    if timeout <= 0:
        raise UsageError(f"--timeout: expected seconds, more than 0, got {timeout:g}")
    if cookbook:
        print_cookbook()
        return
    if not (history.root / "runs").is_dir():
        say(f"no run in {history.location} yet")
    with QueryProcess(history.root) as database:
        _answer(history, database, query, format, timeout, describe)


def _answer(
    history: HistoryBackend,
    database: QueryProcess,
    query: str | None,
    style: Format,
    timeout_s: float,
    describe: bool,
) -> None:
    """Answer one query, describe the views, or open the shell."""
    if query == "-":
        query = _read_stdin()
    elif query is None and not describe:
        query = _piped_query()
    if query is None and not describe and is_terminal(sys.stdin) and is_terminal(sys.stdout):
        from flows.cli.sql_shell import Shell

        Shell(history, database, style, timeout_s).run()
    elif query is None or describe:
        describe_views(database, query, style)
    else:
        run_query(database, query, style, timeout_s)


def _piped_query() -> str | None:
    """Return the piped input; None if stdin is a terminal, closed or empty, as for services and cron.

    Raises:
        UsageError: If stdin stays open and nothing arrives.
    """
    if sys.stdin is None or is_terminal(sys.stdin):
        return None
    if not select.select([sys.stdin], [], [], _STDIN_TIMEOUT_S)[0]:
        raise UsageError(
            f"no query was given, and nothing arrived on stdin within {_STDIN_TIMEOUT_S:g} s",
            remedy="`overnight sql -` waits for stdin, `overnight sql --describe` shows the views.",
        )
    return _read_stdin().strip() or None


def _read_stdin() -> str:
    if sys.stdin is None:
        return ""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the input on stdin is not UTF-8 text: {error}") from error
