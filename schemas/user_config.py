"""The user's own configuration file: how models are asked and where programs run, for all problems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from schemas.bounded_parsing import parse_toml
from schemas.errors import UsageError
from schemas.problem_folder import read_given_text
from schemas.settings import parse_settings

VARIABLE = "OVERNIGHT_CONFIG"
"""Names the file; by default it is `overnight/config.toml` in XDG_CONFIG_HOME, or in `~/.config`."""

SECTIONS = ("sampling", "sandbox")
"""What a machine and its user decide; everything else belongs to a problem."""


def config_path() -> Path:
    """Return where the file is looked for."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder, "overnight", "config.toml")


def user_settings() -> dict[str, Any]:
    """Read the file, nested as in TOML; empty if there is none.

    Raises:
        UsageError: If it is no TOML, has another section, or a setting in it is wrong.
    """
    path = config_path()
    settings = _read(path)
    if others := sorted(set(settings) - set(SECTIONS)):
        raise UsageError(
            f"{path}: `{others[0]}` is not a setting for all problems; expected [sampling] or [sandbox]",
            remedy="Put it into the problem's own file, or pass it with --set.",
        )
    parse_settings(settings, str(path))
    return settings


def _read(path: Path) -> dict[str, Any]:
    """Read the file where it is there; it may be a link, as it is in many people's homes."""
    if not path.exists():
        return {}
    try:
        return parse_toml(read_given_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: no TOML: {error}", remedy="Mend it.") from error
