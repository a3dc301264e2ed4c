"""What the image of a problem has beyond the base: its files."""

from __future__ import annotations

import os
import sys

FILES = "/overnight/files"
"""The problem's own files."""


def files() -> list[str]:
    """Names at the top of the problem's files; none where it has no files."""
    return sorted(os.listdir(FILES)) if os.path.isdir(FILES) else []


def enter() -> None:
    """Makes the files' folder the working directory, and the first place where modules are looked for.

    Only now that all is loaded which the runner needs: none of its own modules comes from there.
    """
    if files():
        os.chdir(FILES)
        sys.path.insert(0, FILES)
