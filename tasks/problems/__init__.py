"""The library of problems: one specification file each, found by name. They are data and never imported."""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from itertools import islice
from pathlib import Path

from overnight.schemas.errors import UsageError

_FOLDER = Path(__file__).parent

TEMPLATE = _FOLDER / "template" / "short_tour.py"
"""A commented specification to begin with; none of the built-in problems."""


def names() -> list[str]:
    """Names of the built-in problems, sorted."""
    return sorted(path.stem.replace("_", "-") for path in _FOLDER.glob("*.py") if path.stem != "__init__")


def find(name: str) -> Path:
    """The specification file of a problem: a file's own path, or that of a built-in one by its name.

    Raises:
        UsageError: If it is neither.
    """
    path = Path(name)
    if path.exists() or path.is_symlink():
        return path
    if name in names():
        return find_builtin(name)
    raise UsageError(
        f"no file {name}" if path.suffix == ".py" else f"no problem {name!r}: neither a file nor a built-in one",
        remedy=f"{_hint(_close(path))}{_WHAT_THERE_IS}",
    )


def find_builtin(name: str) -> Path:
    """The specification file of a built-in problem.

    Raises:
        UsageError: If there is none of that name.
    """
    if name in names():
        return _FOLDER / f"{name.replace('-', '_')}.py"
    close = difflib.get_close_matches(name, names(), n=1)
    raise UsageError(f"no problem {name!r}: none that is built in", remedy=f"{_hint(close)}{_WHAT_THERE_IS}")


_WHAT_THERE_IS = "`overnight problems` lists the built-in ones; your own is named by its path, like ./mine.py"

_MOST_NAMES = 1000
"""Names in a folder that are compared with a misspelled one."""


def _hint(close: list[str]) -> str:
    return f"Did you mean {close[0]}? " if close else ""


def _close(path: Path) -> list[str]:
    """Return what a path may stand for, the most similar first: it with `.py`, others in its folder, built-in ones."""
    there: list[str] = []
    with suppress(OSError), os.scandir(path.parent) as entries:
        there = [entry.name for entry in islice(entries, _MOST_NAMES) if entry.is_dir() or entry.name.endswith(".py")]
    if f"{path.name}.py" in there:
        return [str(path.with_name(f"{path.name}.py"))]
    similar = difflib.get_close_matches(path.name, sorted(there), n=1)
    similar = similar or difflib.get_close_matches(path.stem, sorted(name.removesuffix(".py") for name in there), n=1)
    named = [name for name in there if similar and name.removesuffix(".py") == similar[0].removesuffix(".py")]
    return [str(path.parent / name) for name in named[:1]] or difflib.get_close_matches(path.stem, names(), n=1)
