"""Print data to stdout and messages to stderr, and lay out tables."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token

from overnight.flows.cli import terminal
from overnight.flows.formatting import DEFAULT_HISTORY as DEFAULT_HISTORY
from overnight.flows.formatting import count as count
from overnight.flows.formatting import duration as duration
from overnight.flows.formatting import history_flag as history_flag
from overnight.flows.formatting import printable as printable
from overnight.flows.formatting import score as score
from overnight.flows.formatting import usd as usd
from overnight.schemas.errors import UsageError
from overnight.schemas.history_backend import HistoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from overnight.schemas.problem import Problem


def history_to_write(_: type, tokens: Sequence[Token]) -> HistoryBackend:
    """Return a history that a new run is written to, without updating it, after a check that it can be written to."""
    from overnight.tasks.history.backends import open_history

    history = open_history(tokens[0].value)
    history.probe()
    return history


def history_to_read(_: type, tokens: Sequence[Token]) -> HistoryBackend:
    """Return a history after it has been brought up to date."""
    from overnight.tasks.history.backends import open_history

    history = open_history(tokens[0].value)
    history.refresh()
    return history


def _history(converter: Callable[[type, Sequence[Token]], HistoryBackend] | None = None) -> Parameter:
    return Parameter(
        name="--history",
        env_var="OVERNIGHT_HISTORY",
        help="where runs are stored: a directory, or a URL of object storage such as s3://bucket/prefix",
        converter=converter,
        n_tokens=1,
        metavar="PLACE",
    )


History = Annotated[HistoryBackend, _history(history_to_read)]
NewRun = Annotated[HistoryBackend, _history(history_to_write)]
"""History of commands that start a run and read no other."""

HistoryPlace = Annotated[str, _history()]
"""Place of a history that need not be usable."""

OutputFormat = Annotated[
    Literal["text", "json"], Parameter(name="--format", help="json: the data as one line of JSON, for programs")
]

_PIPE_WIDTH = 10_000
"""Characters of a line where stdout is not a terminal; wide enough that each table row is one line."""

_COLUMN_GAP = 3
"""Characters between two columns."""

_NARROW_NAME = 8
"""Characters for a column's name on a very narrow terminal."""


@cache
def out() -> Console:
    """Return the console for data, on stdout."""
    console = terminal.console(stderr=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


@cache
def err() -> Console:
    """Return the console for messages, on stderr."""
    return terminal.console(stderr=True)


def say(text: str) -> None:
    """Print a message to stderr. It is wrapped on a terminal, unless it contains a command to be copied."""
    err().print(printable(text), markup=False, soft_wrap="overnight " in text or not err().is_terminal)


@contextlib.contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done, and for how long, while the context is open; only on a terminal.

    It yields a function that shows another text in its place.
    """
    if not err().is_terminal:
        yield lambda _: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task(printable(text), total=None)
        yield lambda other: progress.update(task, description=printable(other))


@contextlib.contextmanager
def in_pages() -> Iterator[None]:
    """Show what the block prints to stdout in pages, by PAGER or `less`; only on a terminal."""
    pager = shlex.split(os.environ.get("PAGER", "")) or ["less"]
    if not (out().is_terminal and terminal.is_terminal(sys.stdin) and shutil.which(pager[0])):
        yield
        return
    with out().capture() as captured:
        yield
    # These flags of `less` end it where all fits one screen, and show colours.
    subprocess.run(pager, input=captured.get().encode(), env={"LESS": "FRX", **os.environ}, check=False)


def write_text(text: str, style: str = "") -> None:
    """Write a line of untrusted data, such as code, to stdout: escaped and styled on a terminal, else unchanged."""
    if out().is_terminal:
        out().print(printable(text), markup=False, soft_wrap=True, style=style)
    else:
        sys.stdout.write(f"{text}\n")


def write_json(value: Any) -> None:
    """Write one line of JSON to stdout: numbers that are not finite become null, times ISO 8601."""
    import orjson

    text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_code(text: str) -> None:
    """Write code to stdout, and a warning to stderr if it reads differently from how it runs."""
    write_text(text)
    warn_if_misleading(text)


def warn_if_misleading(code: str) -> None:
    """Print a warning if code reads differently from how it runs."""
    from overnight.tasks.report.code_view import warning

    if message := warning(code):
        say(f"warning: {message}")


def say_notes(problem: Problem) -> None:
    for note in problem.notes:
        say(f"note: {note}")


def say_score_warning(problem: Problem) -> None:
    """Print whether scores can be forged, once it is known where programs run."""
    if problem.score_warning:
        say(f"warning: {problem.score_warning}")


class _StderrHandler(logging.Handler):
    """Log handler that prints warnings as messages, such as a long wait for a host slot."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def route_warnings_to_stderr() -> None:
    """Print the warnings of this program's own loggers as messages. Idempotent."""
    logger = logging.getLogger("overnight")
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())
        # Otherwise Prefect's root handler would print them a second time, in its own format.
        logger.propagate = False


def print_error(message: str, remedy: str) -> None:
    """Print an error as every command does: the message, then the remedy."""
    sys.stderr.write(f"overnight: error: {printable(message)}\n")
    if remedy:
        sys.stderr.write(f"  {printable(remedy)}\n")


def require_new(path: Path) -> None:
    """Raise a UsageError if something is at a path already, before something that takes long."""
    if path.is_symlink() or path.exists():
        raise _exists(path)


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists already", remedy="Name another file, or remove this one first.")


def write_new(path: Path, text: str) -> None:
    """Write a new file, and its folder if needed; raise a UsageError if it exists already or cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", remedy="Name another file.") from error


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    title: str = "",
    spare: Sequence[str] = (),
) -> Table:
    """Return a plain table in which no word is broken, so that ids can be copied.

    Columns of the names in `right` are aligned to the right. Those in `spare` are left out on a narrow terminal, the
    first ones first. If the remaining columns are still too wide, each row is printed as one line per column.
    """
    cells = [columns, *rows]
    if out().is_terminal:
        # Escape before the columns are measured: an escape sequence is wider than the character it replaces.
        title = printable(title)
        cells = [list(map(printable, row)) for row in cells]
    shown, left_out = list(range(len(columns))), list[str]()
    while (widths := _widths(cells, shown)) is None and len(left_out) < len(spare):
        left_out.append(spare[len(left_out)])
        shown.remove(columns.index(left_out[-1]))
    if widths is None:
        return _as_lines(cells, title)
    grid = _grid(title)
    grid.caption = _cell(f"columns left out on this narrow terminal: {', '.join(left_out)}") if left_out else None
    for index, width in zip(shown, widths, strict=True):
        side = "right" if columns[index] in right else "left"
        grid.add_column(_cell(cells[0][index]), justify=side, width=width, overflow="fold")
    for row in cells[1:]:
        grid.add_row(*(_cell(row[index]) for index in shown))
    return grid


def _widths(cells: Sequence[Sequence[str]], shown: Sequence[int]) -> list[int] | None:
    """Return the widths of the shown columns side by side; None if a word would have to be broken."""
    from rich.cells import cell_len

    columns = [[row[index] for row in cells] for index in shown]
    minimums = [max(cell_len(word) for cell in column for word in (cell.split() or [""])) for column in columns]
    extras = [max(map(cell_len, column)) - minimum for column, minimum in zip(columns, minimums, strict=True)]
    room = out().width - sum(minimums) - _COLUMN_GAP * len(shown) + 1
    if room < 0:
        return None
    widths = list(minimums)
    # What lacks least comes first, so that a long text is wrapped rather than the labels beside it.
    for place, index in enumerate(sorted(range(len(extras)), key=lambda index: extras[index])):
        share = min(extras[index], room // (len(extras) - place))
        widths[index] += share
        room -= share
    return widths


def _as_lines(cells: Sequence[Sequence[str]], title: str) -> Table:
    """Return a table with one line per cell: the column's name and the value."""
    pairs = [list(zip(cells[0], row, strict=True)) for row in cells[1:]]
    grid = _grid(title)
    grid.show_header = False
    # If not even two columns fit, break the name rather than the value.
    for width in _widths([pair for row in pairs for pair in row], [0, 1]) or (_NARROW_NAME, None):
        grid.add_column(width=width, overflow="fold")
    for row in pairs:
        for pair in row:
            grid.add_row(*map(_cell, pair))
        grid.add_section()
    return grid


def _grid(title: str) -> Table:
    from rich import box
    from rich.table import Table

    # As a `Text`, so that brackets in an untrusted title are not read as Rich markup, such as a link.
    head = _cell(title)
    if head.cell_len <= out().width:  # otherwise it would be wrapped to the width of its table
        head.no_wrap, head.overflow = True, "ignore"
    return Table(
        box=box.SIMPLE_HEAD, title=head if title else None, title_justify="left", caption_justify="left", pad_edge=False
    )


def _cell(text: str) -> Text:
    from rich.text import Text

    return Text(text)
