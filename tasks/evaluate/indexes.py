"""Find out where uv looks for wheels: as set for uv, otherwise as set for pip."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_NAMES = {
    # pip's setting: uv's variable, another variable with the same meaning, separator of several values
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL", " "),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL", " "),
    "find-links": ("UV_FIND_LINKS", "UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", "UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", "SSL_CERT_FILE", " "),
}


_DECIDING = (
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_INDEX_STRATEGY", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE_NEWER"),
    *("UV_PRERELEASE", "UV_RESOLUTION"),
)
"""Variables that determine which wheels are found."""

_PATHS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_OVERRIDE")
"""Variables whose value may be a path relative to the working directory."""


def environment() -> dict[str, str]:
    """Return the environment for uv, which may run in another working directory."""
    variables, pip = dict(os.environ), _pip_settings()
    for setting, (name, other, separator) in _NAMES.items():
        if setting in pip and not variables.get(name) and not variables.get(other):
            variables[name] = separator.join(pip[setting].split())
    # On a network whose proxy re-signs connections, only the system's store has the certificate.
    variables.setdefault("UV_SYSTEM_CERTS", "true")
    return variables | {name: _absolute(variables[name]) for name in _PATHS if variables.get(name)}


def _absolute(value: str) -> str:
    """Make existing paths absolute; leave addresses and other paths unchanged."""
    parts = value.split(",")
    return ",".join(str(Path(part).absolute()) if part and Path(part).exists() else part for part in parts)


def flags() -> list[str]:
    """Return uv's flags; without UV_CONFIG_FILE in the environment, they make uv ignore its configuration files."""
    without_files = [] if os.environ.get("UV_CONFIG_FILE") else ["--no-config"]
    return without_files + (["--no-index"] if _is_without_index() else [])


def fingerprint() -> str:
    """Return a SHA-256 of all settings that determine where wheels are looked for and which ones are chosen."""
    variables = environment()
    settings = {name: variables[name] for name in _DECIDING if variables.get(name)}
    return hashlib.sha256(json.dumps([settings, _is_without_index()], sort_keys=True).encode()).hexdigest()


def describe() -> str:
    """Describe where wheels are looked for, without addresses, which may contain a password."""
    variables = environment()
    places = [f"in {variables['UV_FIND_LINKS']}"] if variables.get("UV_FIND_LINKS") else []
    if not _is_without_index():
        named = any(variables.get(name) for setting in ("index-url", "extra-index-url") for name in _NAMES[setting][:2])
        places.append("at the index of your settings" if named else "at the usual index")
    return f"looked for {' and '.join(places)}" if places else "but no index or folder to look in is set"


def _is_without_index() -> bool:
    value = os.environ.get("UV_NO_INDEX") or _pip_settings().get("no-index", "")
    return value.lower() in {"1", "true", "yes", "on"}


def _pip_settings() -> dict[str, str]:
    """Return pip's own settings: later files override earlier ones, and variables override files."""
    settings: dict[str, str] = {}
    for file in _pip_files(os.environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            # The user sees this error from pip itself.
            continue
        for section in ("global", "install"):
            settings |= dict(parser.items(section)) if parser.has_section(section) else {}
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value:
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return settings


def _pip_files(variables: Mapping[str, str]) -> list[Path]:
    named = variables.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path.home()
    user = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / "Library/Application Support/pip/pip.conf"]
    files += [home / ".pip/pip.conf", user / "pip/pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*files, *([Path(named)] if named else [])]
