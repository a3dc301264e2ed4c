"""The library of problems: one specification file each, found by name. They are data and never imported."""

from __future__ import annotations

import difflib
from pathlib import Path

from schemas.errors import UsageError

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
    if path.suffix == ".py" or path.exists():
        return path
    return find_builtin(name, what="neither a file nor a built-in one")


def find_builtin(name: str, *, what: str = "none that is built in") -> Path:
    """The specification file of a built-in problem.

    Raises:
        UsageError: If there is none of that name.
    """
    if name in names():
        return _FOLDER / f"{name.replace('-', '_')}.py"
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise UsageError(
        f"no problem {name!r}: {what}",
        remedy=f"{hint}`overnight problems` lists the built-in ones; your own is named by its path, like ./mine.py",
    )
