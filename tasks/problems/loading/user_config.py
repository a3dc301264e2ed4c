"""Read the user's configuration file: settings of models and sandboxes for all problems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from schemas.bounded_parsing import parse_toml
from schemas.errors import UsageError
from schemas.problem_folder import read_given_text
from schemas.settings import parse_settings

VARIABLE = "OVERNIGHT_CONFIG"
"""Environment variable with the path of the file; the default is `overnight/config.toml` in XDG_CONFIG_HOME, or in
`~/.config`."""

SECTIONS = ("sampling", "sandbox")
"""Sections that the user decides for a machine; all other settings belong to a problem."""


def config_path() -> Path:
    """Return the path of the file, which need not exist."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder, "overnight", "config.toml")


def user_settings() -> dict[str, Any]:
    """Read the file, nested as in TOML; empty if there is none.

    Raises:
        UsageError: If the file is not TOML, has another section, or a setting in it is wrong.
    """
    path = config_path()
    settings = _read(path)
    if unknown := sorted(set(settings) - set(SECTIONS)):
        raise UsageError(
            f"{path}: `{unknown[0]}` cannot be set for all problems; expected [sampling] or [sandbox]",
            remedy="Set it in the problem's own file, or with --set.",
        )
    parse_settings(settings, str(path))
    return settings


def _read(path: Path) -> dict[str, Any]:
    """Read the file, if it exists; it may be a link, as dotfiles often are."""
    if not path.exists():
        return {}
    try:
        return parse_toml(read_given_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: not valid TOML: {error}", remedy="Correct the file.") from error
