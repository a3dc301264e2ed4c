"""Where wheels are looked for: as uv is told, and where it is told nothing, as pip is."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_NAMES = {
    # pip's setting: uv's variable, other variables that say the same, what separates several values
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
"""Variables that decide which wheels are found."""

_PATHS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_OVERRIDE")
"""Those that may name a file or a folder, from the working directory."""


def environment() -> dict[str, str]:
    """The environment for uv, which may be run in another working directory."""
    variables, pip = dict(os.environ), _pip_settings()
    for setting, (name, other, separator) in _NAMES.items():
        if setting in pip and not variables.get(name) and not variables.get(other):
            variables[name] = separator.join(pip[setting].split())
    # Where a network signs connections anew, only the system knows the certificate.
    variables.setdefault("UV_SYSTEM_CERTS", "true")
    return variables | {name: _absolute(variables[name]) for name in _PATHS if variables.get(name)}


def _absolute(value: str) -> str:
    """Paths that are there from the working directory, made absolute; addresses and other paths stay."""
    parts = value.split(",")
    return ",".join(str(Path(part).absolute()) if part and Path(part).exists() else part for part in parts)


def flags() -> list[str]:
    """What uv has no variable for. Of its own configuration files only one that the user's environment names counts."""
    without_files = [] if os.environ.get("UV_CONFIG_FILE") else ["--no-config"]
    return without_files + (["--no-index"] if _is_without_index() else [])


def fingerprint() -> str:
    """Return a SHA-256 that differs where wheels are looked for elsewhere, or chosen otherwise."""
    variables = environment()
    said = {name: variables[name] for name in _DECIDING if variables.get(name)}
    return hashlib.sha256(json.dumps([said, _is_without_index()], sort_keys=True).encode()).hexdigest()


def describe() -> str:
    """Where is looked, in words; without addresses, which may hold a password."""
    variables = environment()
    places = [f"in {variables['UV_FIND_LINKS']}"] if variables.get("UV_FIND_LINKS") else []
    if not _is_without_index():
        named = any(variables.get(name) for setting in ("index-url", "extra-index-url") for name in _NAMES[setting][:2])
        places.append("at the index that your settings name" if named else "at the usual index")
    return f"looked for {' and '.join(places)}" if places else "and no place is named where to look"


def _is_without_index() -> bool:
    said = os.environ.get("UV_NO_INDEX") or _pip_settings().get("no-index", "")
    return said.lower() in {"1", "true", "yes", "on"}


def _pip_settings() -> dict[str, str]:
    """Pip's own settings: its files, the later over the earlier, then its variables."""
    settings: dict[str, str] = {}
    for file in _pip_files(os.environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            # Not ours to mend; pip itself will say it.
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
