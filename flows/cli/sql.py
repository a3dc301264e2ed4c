"""`overnight sql`: query the history in SQL, once or in a shell."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, cast, get_args

from cyclopts import Parameter

from overnight.flows.cli.output_formats import Format, write_result
from overnight.flows.cli.printing import DEFAULT_HISTORY, History, count, out, print_error, say, table
from overnight.flows.cli.terminal import is_terminal
from overnight.flows.state_folder import state_folder
from overnight.schemas.errors import EnvironmentFault, OvernightError, UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.tasks.history.private_files import open_private

if TYPE_CHECKING:
    from overnight.tasks.history.query_process import QueryProcess

_TIMEOUT_S = 300.0
_STDIN_TIMEOUT_S = 5.0
"""Seconds to wait for the first byte of piped input."""

_COLUMNS = """
SELECT table_name AS view, column_name AS column, data_type AS type, comment AS meaning
FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal AND (? IS NULL OR table_name = ?)
ORDER BY table_name, column_index
"""

_KEYWORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "JOIN", "USING", "WITH", "AS", "AND", "OR",
    "NOT", "DISTINCT", "DESC", "COUNT", "SUM", "AVG", "MIN", "MAX", "MEDIAN", "FILTER", "OVER", "PARTITION BY",
    "QUALIFY", "CASE", "WHEN", "THEN", "ELSE", "END", "IS NULL", "DESCRIBE", "SUMMARIZE", "EXPLAIN", "PIVOT",
)  # fmt: skip
_COMMANDS = {
    ".describe": "[VIEW]  describe the columns of one view, or of all views",
    ".cookbook": "show common questions with their SQL",
    ".format": f"{'|'.join(get_args(Format)[:-1])}  set the output format",
    ".timeout": "SECONDS  set the time limit of a query",
    ".help": "show this list",
    ".quit": "leave the shell; quit, exit and Ctrl-D do the same",
}
_ALIASES = {"help": ".help", "quit": ".quit", "exit": ".quit", ".exit": ".quit"}
"""Commands of other shells and the commands here that they stand for."""

_PROMPT, _CONTINUATION_PROMPT = "overnight> ", "      ...> "
_LINES, _HISTORY_LINES = "sql_history", 2000
_DELIMITERS = " \t\n,()=<>+*/;'\"[]"


def sql(
    query: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    format: Format = "text",  # noqa: A002
    timeout: float = _TIMEOUT_S,
    describe: bool = False,
    cookbook: bool = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Query the history in SQL, read-only. Views: runs, nights, generations, programs, population, scores.

    Args:
        query: one query, or `-` for stdin; by default the piped input, or a shell on a terminal
        format: output format
        timeout: seconds that a query may take
        describe: describe the columns of one view, or of all views, and the macros
        cookbook: show common questions with their SQL
    """
    from overnight.tasks.history.query_process import QueryProcess

    if timeout <= 0:
        raise UsageError(f"--timeout: expected seconds, more than 0, got {timeout:g}")
    if cookbook:
        print_cookbook()
        return
    with QueryProcess(history.root) as database:
        _answer(history, database, query, format, timeout, describe)


def _answer(
    history: HistoryBackend, database: QueryProcess, query: str | None, style: Format, timeout_s: float, describe: bool
) -> None:
    if query == "-":
        query = _read_stdin()
    elif query is None and not describe:
        query = _piped_query()
    is_shell = query is None and not describe and is_terminal(sys.stdin) and is_terminal(sys.stdout)
    if describe or (query is None and not is_shell):
        describe_views(database, query, style)
        return
    from overnight.tasks.history.files import runs_in
    from overnight.tasks.history.find_run import no_run_in

    if not runs_in(history):
        raise no_run_in(history)
    if query is None:
        Shell(history, database, style, timeout_s).run()
    else:
        run_query(database, query, style, timeout_s)


def _piped_query() -> str | None:
    """Return the piped input; None if stdin is a terminal, closed or empty, as for services and cron."""
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


def run_query(database: QueryProcess, query: str, style: Format, timeout_s: float) -> None:
    """Run a query and write the result to stdout; after a table, print its rows and seconds to stderr."""
    database.wait_until_ready()
    begin = time.monotonic()
    result = database.query(query, timeout_s=timeout_s)
    seconds = time.monotonic() - begin
    write_result(result, style)
    if style == "text":
        say(f"{count(result.num_rows, 'row')} in {seconds:.3f} s")


def describe_views(database: QueryProcess, view: str | None, style: Format) -> None:
    """Write the columns of one view with their meanings, or those of all views and the macros."""
    from overnight.schemas.views import MACROS, VIEWS

    if view is not None and view not in VIEWS:
        raise UsageError(f"no view {view!r}", remedy=f"The views are: {', '.join(VIEWS)}")
    columns = database.query(_COLUMNS, [view, view])
    if style != "text":
        write_result(columns, style)
        return
    rows = columns.to_pylist()
    for name in VIEWS if view is None else (view,):
        shown = [(row["column"], row["type"], row["meaning"]) for row in rows if row["view"] == name]
        out().print(table((name, "type", "meaning"), shown, title=f"{name}: {VIEWS[name].description}"))
    if view is None:
        out().print(table(("macro", "result"), [(macro.call, macro.description) for macro in MACROS.values()]))
        say("""for example: overnight sql "FROM best_programs('last')"; more examples with --cookbook""")


def print_cookbook() -> None:
    """Write common questions and their queries to stdout."""
    from overnight.schemas.views import cookbook

    out().print(cookbook(), markup=False, soft_wrap=True, end="")


def _words() -> list[str]:
    """Return the words that can be completed: commands, views, macros, columns and keywords."""
    from overnight.schemas.views import MACROS, VIEWS

    return [*_COMMANDS, *VIEWS, *(f"{macro}(" for macro in MACROS), *_columns(), *_KEYWORDS]


def _columns() -> list[str]:
    from overnight.schemas.views import VIEWS

    return sorted({column for view in VIEWS.values() for column in view.columns})


def completions(typed: str) -> list[str]:
    """Return the words that start with the typed text; after a dot, the columns."""
    qualifier, dot, rest = typed.rpartition(".")
    if dot and qualifier:
        return [f"{qualifier}.{column}" for column in _columns() if column.startswith(rest.lower())]
    found = [word for word in _words() if word.lower().startswith(typed.lower())]
    return [word.lower() for word in found] if typed.islower() else found


class Shell:
    """Interactive shell that reads queries from the terminal. A query ends with a semicolon or an empty line."""

    def __init__(self, history: HistoryBackend, database: QueryProcess, style: Format, timeout_s: float) -> None:
        self._history = history
        self._database = database
        self._style: Format = style
        self._timeout_s = timeout_s
        self._done = False

    def run(self) -> None:
        """Read and run queries and commands until the user leaves."""
        say("The history in SQL, read-only. End a query with `;`. `.help` lists the commands, Tab completes.")
        with _line_editing():
            while not self._done:
                try:
                    self._execute(_read())
                except EOFError:
                    break
                except KeyboardInterrupt:
                    say("\ninterrupted; Ctrl-D leaves")
                except OvernightError as error:
                    print_error(error.message, error.remedy)

    def _execute(self, text: str) -> None:
        if text.startswith("."):
            self._run_command(*text.rstrip(";").split())
        elif text.strip("; \n"):
            self._history.refresh()
            run_query(self._database, text, self._style, self._timeout_s)

    def _run_command(self, name: str, *arguments: str) -> None:
        match name, arguments:
            case ".describe", () | (_,):
                describe_views(self._database, next(iter(arguments), None), "text")
            case ".cookbook", ():
                print_cookbook()
            case ".format", (style,) if style in get_args(Format)[:-1]:
                self._style = cast("Format", style)
            case ".format", _:
                raise UsageError(f".format takes {_COMMANDS['.format'].split()[0]}")
            case ".timeout", (seconds,) if seconds.replace(".", "", 1).isdigit() and float(seconds) > 0:
                self._timeout_s = float(seconds)
            case ".timeout", _:
                raise UsageError(".timeout takes seconds, more than 0")
            case ".quit", ():
                self._done = True
            case ".help", ():
                for command, meaning in _COMMANDS.items():
                    say(f"{command:<10} {meaning}")
            case _:
                raise UsageError(f"no command {' '.join((name, *arguments))}", remedy="`.help` lists the commands.")


def _read() -> str:
    """Read one query, which may span several lines, or one command."""
    lines = [input(_PROMPT).strip()]
    if command := _ALIASES.get(lines[0].rstrip(";").lower()):
        return command
    while lines[-1] and not lines[0].startswith(".") and not lines[-1].endswith(";"):
        lines.append(input(_CONTINUATION_PROMPT).strip())
    return "\n".join(lines).strip()


@contextlib.contextmanager
def _line_editing() -> Iterator[None]:
    """Enable completion and the lines of earlier shells. Errors with the file of these lines are ignored."""
    import readline

    readline.set_completer(lambda typed, index: (*completions(typed), None)[index])
    readline.set_completer_delims(_DELIMITERS)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    readline.set_history_length(_HISTORY_LINES)
    with contextlib.suppress(OSError, EnvironmentFault):
        readline.read_history_file(state_folder() / _LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, EnvironmentFault):
            file = state_folder() / _LINES
            open_private(file, "ab", follows_link=True).close()
            readline.write_history_file(file)
