"""Interactive SQL shell with line history, completion and timing."""

from __future__ import annotations

import contextlib
import os
import readline
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from flows.cli.output_formats import Format
from flows.cli.printing import print_error, say
from flows.cli.queries import describe_views, print_cookbook, run_query
from schemas.errors import OvernightError, UsageError
from schemas.views import MACROS, VIEWS
from tasks.history.private_files import make_private_folder, open_private

if TYPE_CHECKING:
    from schemas.history_backend import HistoryBackend
    from tasks.history.query_process import QueryProcess

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
_HISTORY_LINES = 2000
_DELIMITERS = " \t\n,()=<>+*/;'\"[]"


def _words() -> list[str]:
    """Return the words that can be completed: commands, views, macros, columns and keywords."""
    return [*_COMMANDS, *VIEWS, *(f"{macro}(" for macro in MACROS), *_columns(), *_KEYWORDS]


def _columns() -> list[str]:
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
        with _line_editing(_history_file()):
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
                describe_views(self._database, next(iter(arguments), None), "table")
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


def _history_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "overnight" / "sql_history"


@contextlib.contextmanager
def _line_editing(history_file: Path) -> Iterator[None]:
    """Enable completion and the lines of earlier shells. Errors with the history file are ignored."""
    readline.set_completer(lambda typed, index: (*completions(typed), None)[index])
    readline.set_completer_delims(_DELIMITERS)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    readline.set_history_length(_HISTORY_LINES)
    with contextlib.suppress(OSError):
        readline.read_history_file(history_file)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            make_private_folder(history_file.parent)
            open_private(history_file, "ab", follows_link=True).close()
            readline.write_history_file(history_file)
