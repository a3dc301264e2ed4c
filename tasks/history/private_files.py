"""Create files and folders that nobody else may read, whatever the umask is.

What is created in a history that is there already gets the rights of its folder: one that was opened to a group stays
open to it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO, Any, Literal

_RUNS = "runs"
_FILE, _FOLDER, _OTHERS, _EXECUTE = 0o600, 0o700, 0o077, 0o111


def make_folder(folder: Path) -> None:
    """Create a folder of a run with those above it, as far as they are not there.

    Raises:
        OSError: If that cannot be done.
    """
    _make(folder, _FOLDER | _rights_of_others(folder))


def make_private_folder(folder: Path) -> None:
    """Create a folder with those above it, as far as they are not there, for its owner only.

    Raises:
        OSError: If that cannot be done.
    """
    _make(folder, _FOLDER)


def make_folder_like(folder: Path, other: Path) -> None:
    """Create a folder with the rights of another one.

    Raises:
        OSError: If that cannot be done, or it is there already.
    """
    os.mkdir(folder, _FOLDER | stat.S_IMODE(other.stat().st_mode) & _OTHERS)


def open_private(path: Path, mode: Literal["wb", "ab", "xb"]) -> IO[Any]:
    """Open a file to write to; one that is there already keeps its rights.

    Raises:
        OSError: If that cannot be done.
    """
    rights = _FILE | _rights_of_others(path) & ~_EXECUTE
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, rights))


def _make(folder: Path, rights: int) -> None:
    for path in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        try:
            os.mkdir(path, rights)
        except FileExistsError:  # another process was quicker
            if not path.is_dir():
                raise


def _rights_of_others(path: Path) -> int:
    """Return the rights of group and others on the history that a path is in; none where there is none yet."""
    runs = next((one for one in (path, *path.parents) if one.name == _RUNS), None)
    if runs is None:
        return 0
    try:
        return stat.S_IMODE(runs.parent.stat().st_mode) & _OTHERS
    except FileNotFoundError:
        return 0
