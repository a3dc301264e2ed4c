"""How things are written: data to stdout, talk to stderr, numbers alike everywhere."""

from __future__ import annotations

import logging
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, Token

from flows.cli import terminal
from flows.formatting import DEFAULT_HISTORY as DEFAULT_HISTORY
from flows.formatting import count as count
from flows.formatting import duration as duration
from flows.formatting import history_flag as history_flag
from flows.formatting import printable as printable
from flows.formatting import score as score
from flows.formatting import usd as usd
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from schemas.problem import Problem


def history_to_write(_: type, tokens: Sequence[Token]) -> Path:
    """The place of a history that gets something new: of one behind a URL, this machine's copy as it is.

    Raises:
        UsageError: If the URL makes no sense.
        EnvironmentFault: If it cannot be written to.
    """
    from tasks.history.remote.mirror import local_copy
    from tasks.history.remote.sync import probe

    history = local_copy(tokens[0].value)
    probe(history)
    return history


def history_to_read(_: type, tokens: Sequence[Token]) -> Path:
    """The place of a history: of one behind a URL, this machine's copy, brought up to date.

    Raises:
        UsageError: If the URL makes no sense.
        EnvironmentFault: If the store does not answer, or refuses.
    """
    from tasks.history.remote.mirror import local_copy
    from tasks.history.remote.sync import refresh

    history = local_copy(tokens[0].value)
    refresh(history)
    return history


def _history(converter: Callable[[type, Sequence[Token]], Path]) -> Parameter:
    return Parameter(
        name="--history",
        env_var="OVERNIGHT_HISTORY",
        help="where runs are kept: a directory, or a place on object storage like s3://bucket/prefix",
        converter=converter,
    )


History = Annotated[Path, _history(history_to_read)]
NewRun = Annotated[Path, _history(history_to_write)]
"""Of what begins a run and needs no other."""

_WIDTH_OF_A_PIPE = 10_000
"""Where nobody looks, a row is a line."""

_GAP = 3
"""Characters between two columns."""

_NARROW = 8
"""Characters for the name of a column where there is hardly any room."""


@cache
def out() -> Console:
    """For data."""
    console = terminal.console(stderr=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_PIPE
    return console


@cache
def err() -> Console:
    """For talk."""
    return terminal.console(stderr=True)


def say(text: str) -> None:
    """A line of talk. On a terminal it is wrapped between words, unless it holds a command, which is to be copied."""
    err().print(printable(text), markup=False, soft_wrap="overnight " in text or not err().is_terminal)


def write_text(text: str, style: str = "") -> None:
    """Write a text of data, such as code, and an end of line: to a terminal escaped, elsewhere exactly as it is.

    Args:
        text: What somebody else may have written.
        style: Its colour on a terminal.
    """
    if out().is_terminal:
        out().print(printable(text), markup=False, soft_wrap=True, style=style)
    else:
        sys.stdout.write(f"{text}\n")


def write_code(text: str) -> None:
    """Write code, and a warning where it does not read as it runs."""
    write_text(text)
    warn_of_misreading(text)


def warn_of_misreading(code: str) -> None:
    from tasks.report.misreading import warning

    if said := warning(code):
        say(f"warning: {said}")


def say_notes(problem: Problem) -> None:
    """What is worth saying about how a problem was read."""
    for note in problem.notes:
        say(f"note: {note}")


class _Talk(logging.Handler):
    """Says what the work warns of, such as a long wait for a slot of the machine."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def tell_of_waiting() -> None:
    """Has warnings of this program's own said; once is enough."""
    log = logging.getLogger("overnight")
    if not any(isinstance(handler, _Talk) for handler in log.handlers):
        log.addHandler(_Talk())
        # Prefect would tell them its own way.
        log.propagate = False


def say_error(message: str, remedy: str) -> None:
    """An error as every command shows it: what is wrong, then the way out."""
    sys.stderr.write(f"overnight: error: {printable(message)}\n")
    if remedy:
        sys.stderr.write(f"  {printable(remedy)}\n")


def write_new(path: Path, text: str) -> None:
    """Writes a file that is not there yet, and the folder it is in.

    Raises:
        UsageError: If there is one, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already", remedy="Name another, or remove it first.") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", remedy="Name another.") from error


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    title: str = "",
    spare: Sequence[str] = (),
) -> Table:
    """A plain table in which no word is broken, so that an id can be copied.

    Args:
        columns: Their names.
        rows: A cell for each column.
        right: Columns of numbers.
        title: Above it.
        spare: Columns that are left out on a narrow terminal, the first one first. Where the others are too wide, too,
            each row becomes lines of its own, one a column.
    """
    cells = [columns, *rows]
    if out().is_terminal:
        # Before the columns are measured: an escape is wider than what it stands for.
        title = printable(title)
        cells = [list(map(printable, row)) for row in cells]
    kept, left_out = list(range(len(columns))), list[str]()
    while (widths := _widths(cells, kept)) is None and len(left_out) < len(spare):
        left_out.append(spare[len(left_out)])
        kept.remove(columns.index(left_out[-1]))
    if widths is None:
        return _as_lines(cells, title)
    grid = _grid(title)
    grid.caption = _cell(f"a wider terminal shows: {', '.join(left_out)}") if left_out else None
    for place, width in zip(kept, widths, strict=True):
        side = "right" if columns[place] in right else "left"
        grid.add_column(_cell(cells[0][place]), justify=side, width=width, overflow="fold")
    for row in cells[1:]:
        grid.add_row(*(_cell(row[place]) for place in kept))
    return grid


def _widths(cells: Sequence[Sequence[str]], places: Sequence[int]) -> list[int] | None:
    """How wide to make each of the columns, side by side on the terminal; None where that would break a word."""
    from rich.cells import cell_len

    columns = [[row[place] for row in cells] for place in places]
    least = [max(cell_len(word) for cell in column for word in (cell.split() or [""])) for column in columns]
    wishes = [max(map(cell_len, column)) - width for column, width in zip(columns, least, strict=True)]
    room = out().width - sum(least) - _GAP * len(places) + 1
    if room < 0:
        return None
    share = min(1.0, room / (sum(wishes) or 1))
    return [width + int(wish * share) for width, wish in zip(least, wishes, strict=True)]


def _as_lines(cells: Sequence[Sequence[str]], title: str) -> Table:
    pairs = [list(zip(cells[0], row, strict=True)) for row in cells[1:]]
    grid = _grid(title)
    grid.show_header = False
    # Where not even two columns fit, the name is broken before the value is.
    for width in _widths([pair for row in pairs for pair in row], [0, 1]) or (_NARROW, None):
        grid.add_column(width=width, overflow="fold")
    for row in pairs:
        for pair in row:
            grid.add_row(*map(_cell, pair))
        grid.add_section()
    return grid


def _grid(title: str) -> Table:
    from rich import box
    from rich.table import Table

    # As a text: brackets in a stranger's title are no marks of ours, such as a link.
    return Table(
        box=box.SIMPLE_HEAD,
        title=_cell(title) if title else None,
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
    )


def _cell(text: str) -> Text:
    from rich.text import Text

    return Text(text)
