"""How things are written: data to stdout, talk to stderr, numbers alike everywhere."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

History = Annotated[
    Path, Parameter(name="--history", env_var="OVERNIGHT_HISTORY", help="directory where runs are kept")
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


def say_error(message: str, remedy: str) -> None:
    """An error as every command shows it: what is wrong, then the way out."""
    sys.stderr.write(f"overnight: error: {printable(message)}\n")
    if remedy:
        sys.stderr.write(f"  {printable(remedy)}\n")


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


def score(value: float | None) -> str:
    """A score, to six significant digits; a dash where there is none."""
    return "–" if value is None else f"{value:.6g}"


def usd(value: float) -> str:
    return f"${value:.2f}" if value >= 0.1 or value == 0 else f"${value:.4f}"


def duration(seconds: float) -> str:
    """`3 s`, `4 min 05 s`, `7 h 12 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def printable(text: str) -> str:
    """Without control characters: text of models and programs must not reach the terminal's ear."""
    return "".join(char if char in "\n\t" or (char.isprintable() or ord(char) > 159) else "�" for char in text)
