"""The SQL shell: lines in, answers out, with history, completion and timing."""

from __future__ import annotations

import contextlib
import os
import readline
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from flows.cli.output_formats import Format
from flows.cli.printing import out, say, say_error
from flows.cli.sql import describe_views, run_query
from schemas.cookbook import text as cookbook
from schemas.errors import OvernightError, UsageError
from schemas.views import MACROS, VIEWS
from tasks.history.private_files import make_private_folder, open_private
from tasks.history.remote.sync import refresh

if TYPE_CHECKING:
    from tasks.history.query_process import QueryProcess

_KEYWORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "JOIN", "USING", "WITH", "AS", "AND", "OR",
    "NOT", "DISTINCT", "DESC", "COUNT", "SUM", "AVG", "MIN", "MAX", "MEDIAN", "FILTER", "OVER", "PARTITION BY",
    "QUALIFY", "CASE", "WHEN", "THEN", "ELSE", "END", "IS NULL", "DESCRIBE", "SUMMARIZE", "EXPLAIN",
)  # fmt: skip
_COMMANDS = {
    ".describe": "[VIEW]  what the columns of a view, or of all, mean",
    ".cookbook": "questions that people ask, with their SQL",
    ".format": f"{'|'.join(get_args(Format)[:-1])}  how answers are written",
    ".timeout": "SECONDS  that a query may take",
    ".help": "this list",
    ".quit": "leave; so do quit, exit and Ctrl-D",
}
_MEANT = {"help": ".help", "quit": ".quit", "exit": ".quit", ".exit": ".quit"}
"""What people type who come from other shells."""

_PROMPT, _MORE = "overnight> ", "      ...> "
_KEPT_LINES = 2000
_DELIMITERS = " \t\n,()=<>+*/;'\"[]"


def words() -> list[str]:
    """What can be completed: commands, keywords, views, macros and columns."""
    columns = {column for view in VIEWS.values() for column in view.columns}
    return [*_COMMANDS, *VIEWS, *(f"{macro}(" for macro in MACROS), *sorted(columns), *_KEYWORDS]


def completions(typed: str) -> list[str]:
    """Every word that begins with what is typed; after a dot, the columns."""
    qualifier, dot, rest = typed.rpartition(".")
    if dot and qualifier:
        columns = sorted({column for view in VIEWS.values() for column in view.columns})
        return [f"{qualifier}.{column}" for column in columns if column.startswith(rest.lower())]
    found = [word for word in words() if word.lower().startswith(typed.lower())]
    return [word.lower() for word in found] if typed.islower() else found


class Shell:
    """Reads queries from the terminal until its end. A query ends with a semicolon or an empty line."""

    def __init__(self, database: QueryProcess, style: Format, timeout_s: float) -> None:
        self._database = database
        self._style: Format = style
        self._timeout_s = timeout_s
        self._done = False

    def run(self) -> None:
        say("The history in SQL, read-only. A query ends with `;`. `.help` lists the commands, Tab completes.")
        with _line_editing(_history_file()):
            while not self._done:
                try:
                    self._do(_read())
                except EOFError:
                    break
                except KeyboardInterrupt:
                    say("\ninterrupted; Ctrl-D leaves")
                except OvernightError as error:
                    say_error(error.message, error.remedy)

    def _do(self, text: str) -> None:
        if text.startswith("."):
            self._command(*text.rstrip(";").split())
        elif text.strip("; \n"):
            refresh(self._database.history)
            run_query(self._database, text, self._style, self._timeout_s)

    def _command(self, name: str, *arguments: str) -> None:
        match name, arguments:
            case ".describe", () | (_,):
                describe_views(self._database, next(iter(arguments), None), "table")
            case ".cookbook", ():
                out().print(cookbook(), markup=False, soft_wrap=True, end="")
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
                raise UsageError(f"no command {' '.join((name, *arguments))}", remedy="`.help` lists them.")


def _read() -> str:
    """One query or command, over as many lines as it takes."""
    lines = [input(_PROMPT).strip()]
    if command := _MEANT.get(lines[0].rstrip(";").lower()):
        return command
    while lines[-1] and not lines[0].startswith(".") and not lines[-1].endswith(";"):
        lines.append(input(_MORE).strip())
    return "\n".join(lines).strip()


def _history_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "overnight" / "sql_history"


@contextlib.contextmanager
def _line_editing(kept: Path) -> Iterator[None]:
    """Completion, and the lines of earlier shells; a history that cannot be kept is no reason not to answer."""
    readline.set_completer(lambda typed, place: (*completions(typed), None)[place])
    readline.set_completer_delims(_DELIMITERS)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    readline.set_history_length(_KEPT_LINES)
    with contextlib.suppress(OSError):
        readline.read_history_file(kept)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            make_private_folder(kept.parent)
            open_private(kept, "ab", follows_link=True).close()
            readline.write_history_file(kept)
