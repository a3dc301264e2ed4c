"""Read the user's configuration file: settings of models and sandboxes for all problems, and the user's cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from overnight.schemas.errors import UsageError
from overnight.schemas.section import Section
from overnight.schemas.settings import Sandbox, parse_settings
from overnight.tasks.program.bounded_parsing import parse_toml
from overnight.tasks.program.problem_folder import read_given_text

VARIABLE = "OVERNIGHT_CONFIG"
"""Environment variable with the path of the file; the default is `overnight/config.toml` in XDG_CONFIG_HOME, or in
`~/.config`."""

SECTIONS = ("sampling", "sandbox")
"""Sections that the user decides for a machine; all other settings belong to a problem."""

_CLUSTER = "cluster"
"""Section that says where nights evaluate, which is no setting of a run."""


class ClusterSettings(Section):
    """The cluster of a user, `[cluster]` in the configuration file; no problem and no run has these settings."""

    address: str = Field(
        default="",
        description="cluster that nights evaluate on, such as `tls://head:8786`, or `local:N` for a try; the flag "
        "`--cluster` and the variable OVERNIGHT_CLUSTER come first",
    )
    certificates: str = Field(
        default="",
        description="folder of the certificates, relative to the configuration file; the variable "
        "OVERNIGHT_CLUSTER_CERTIFICATES comes first",
    )


def config_path() -> Path:
    """Return the path of the file, which need not exist."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder, "overnight", "config.toml")


def user_settings() -> dict[str, Any]:
    """Read the settings that hold for all problems, nested as in TOML; empty if there is no file.

    Raises:
        UsageError: If the file is not TOML, has another section, or a setting in it is wrong.
    """
    settings = _read(config_path())
    settings.pop(_CLUSTER, None)
    return settings


def user_sandbox() -> Sandbox:
    """Read the user's settings of sandboxes, which hold for problems without their own.

    Raises:
        UsageError: As for `user_settings`.
    """
    return parse_settings({"sandbox": user_settings().get("sandbox", {})}, str(config_path())).sandbox


def user_cluster() -> ClusterSettings:
    """Read the cluster that the file names; its address is empty if there is none.

    Raises:
        UsageError: As for `user_settings`.
    """
    path = config_path()
    cluster = _cluster(_read(path), path)
    if not cluster.certificates:
        return cluster
    folder = path.resolve().parent / Path(cluster.certificates).expanduser()
    return cluster.model_copy(update={"certificates": str(folder)})


def _read(path: Path) -> dict[str, Any]:
    """Read and check the file, if it exists."""
    settings = _parse(path)
    if unknown := sorted(set(settings) - {*SECTIONS, _CLUSTER}):
        raise UsageError(
            f"{path}: `{unknown[0]}` cannot be set for all problems; expected [sampling], [sandbox] or [cluster]",
            remedy="Set it in the problem's own file, or with --set.",
        )
    parse_settings({name: settings[name] for name in SECTIONS if name in settings}, str(path))
    _cluster(settings, path)
    return settings


def _cluster(settings: dict[str, Any], path: Path) -> ClusterSettings:
    try:
        return ClusterSettings.model_validate(settings.get(_CLUSTER, {}))
    except ValidationError as error:
        first = error.errors()[0]
        name, names = ".".join(map(str, (_CLUSTER, *first["loc"]))), " and ".join(ClusterSettings.model_fields)
        raise UsageError(
            f"{path}: {name}: {first['msg']}",
            remedy=f'[{_CLUSTER}] has {names}, both texts. For example: address = "tls://head:8786"',
        ) from error


def _parse(path: Path) -> dict[str, Any]:
    """Parse the file, if it exists; it may be a link, as dotfiles often are."""
    if not path.exists():
        return {}
    try:
        return parse_toml(read_given_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: not valid TOML: {error}", remedy="Correct the file.") from error
