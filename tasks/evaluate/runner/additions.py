"""What the image of a problem has beyond the base: its packages and its files."""

from __future__ import annotations

import os
import sys

PACKAGES = "/overnight/packages"
"""The packages that the problem depends on."""

FILES = "/overnight/files"
"""The problem's own files."""

_ENDING = ".dist-info"


def find_packages() -> dict[str, str]:
    """Makes the packages importable, before those of the base image; their versions by name.

    The folder is no `site-packages`: what a package would have run at every start of Python is not.
    """
    if not os.path.isdir(PACKAGES):
        return {}
    places = [place for place, path in enumerate(sys.path) if path.endswith("-packages")]
    sys.path.insert(places[0] if places else len(sys.path), PACKAGES)
    found = [name.removesuffix(_ENDING).partition("-") for name in os.listdir(PACKAGES) if name.endswith(_ENDING)]
    return {name: version for name, _, version in sorted(found)}


def files() -> list[str]:
    """Names at the top of the problem's files; none where it has no files."""
    return sorted(os.listdir(FILES)) if os.path.isdir(FILES) else []


def enter_files() -> None:
    """Makes the files' folder the working directory, and the first place where modules are looked for.

    Only now that all is loaded which the runner needs: none of its own modules comes from there.
    """
    if files():
        os.chdir(FILES)
        sys.path.insert(0, FILES)
