"""Read the settings file of a problem, `overnight.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.errors import UsageError
from tasks.program import problem_folder
from tasks.program.bounded_parsing import parse_toml


def read_toml(settings: Path) -> dict[str, Any]:
    """Read a problem's settings file; return no tables if there is no file.

    Raises:
        UsageError: If the file is not TOML, or is a link out of its folder.
    """
    if problem_folder.locate(settings.parent, settings.name) is None:
        return {}
    text = problem_folder.read_text(settings.parent, settings.name)
    try:
        return parse_toml(text)
    except ValueError as error:
        raise UsageError(f"{settings}: not valid TOML: {error}", remedy="Correct the file.") from error
