"""Make the packages and files of a problem's image available to its programs."""

from __future__ import annotations

import os
import sys

PACKAGES = "/overnight/packages"
"""Directory of the packages that the problem depends on."""

FILES = "/overnight/files"
"""Directory of the problem's own files."""

_METADATA_SUFFIX = ".dist-info"


def find_packages() -> dict[str, str]:
    """Make the packages importable, ahead of those of the base image, and return their versions by name.

    The directory is not a `site-packages`, so code that a package would run at every start of Python (`.pth` files)
    does not run.
    """
    if not os.path.isdir(PACKAGES):
        return {}
    positions = [position for position, path in enumerate(sys.path) if path.endswith("-packages")]
    sys.path.insert(positions[0] if positions else len(sys.path), PACKAGES)
    found = [
        name.removesuffix(_METADATA_SUFFIX).partition("-")
        for name in os.listdir(PACKAGES)
        if name.endswith(_METADATA_SUFFIX)
    ]
    return {name: version for name, _, version in sorted(found)}


def files() -> list[str]:
    """Return the top-level names of the problem's files; an empty list if it has none."""
    return sorted(os.listdir(FILES)) if os.path.isdir(FILES) else []


def enter_files() -> None:
    """Make the directory of the problem's files the working directory and the first entry of the module search path.

    Call it once everything that the runner needs is loaded, so that none of its own modules comes from there.
    """
    if files():
        os.chdir(FILES)
        sys.path.insert(0, FILES)
