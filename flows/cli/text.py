"""How things are written: data to stdout, talk to stderr, numbers alike everywhere."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, Token

from flows.words import duration as duration
from flows.words import printable as printable
from flows.words import score as score
from flows.words import usd as usd
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

    from schemas.problem import Problem


def local_directory(_: type, tokens: Sequence[Token]) -> Path:
    """The place of a history.

    Raises:
        UsageError: If it is not on this machine.
    """
    place = tokens[0].value
    if "://" in place:
        raise UsageError(
            f"{place}: a history is a directory on this machine; object storage is not there yet",
            remedy="Keep it here, and send it off as one file: overnight export RUN --write FILE",
        )
    return Path(place)


History = Annotated[
    Path,
    Parameter(
        name="--history", env_var="OVERNIGHT_HISTORY", help="directory where runs are kept", converter=local_directory
    ),
]
DEFAULT_HISTORY = Path("history")
_WIDTH_OF_A_PIPE = 200


@cache
def out() -> Console:
    """For data."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_PIPE
    return console


@cache
def err() -> Console:
    """For talk."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    err().print(text, markup=False, soft_wrap=True)


def say_notes(problem: Problem) -> None:
    """What is worth saying about how a problem was read."""
    for note in problem.notes:
        say(f"note: {printable(note)}")


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
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), title: str = ""
) -> Table:
    """A plain table; columns named in `right` are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid
