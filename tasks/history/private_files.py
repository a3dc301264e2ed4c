"""Create files and folders that nobody else may read, whatever the umask is.

What is created in a history that is there already gets the rights of its folder: one that was opened to a group stays
open to it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO, Any, Literal

from schemas.errors import HistoryError

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


def open_private(path: Path, mode: Literal["wb", "ab", "xb"], *, follows_link: bool = False) -> IO[Any]:
    """Open a file to write to; one that is there already keeps its rights.

    Args:
        path: Where it is.
        mode: As of `open`.
        follows_link: Whether it may be a link, as what a user names may.

    Raises:
        OSError: If that cannot be done.
    """
    rights = _FILE | _rights_of_others(path) & ~_EXECUTE
    more = 0 if follows_link else os.O_NOFOLLOW
    return open(path, mode, opener=lambda name, flags: os.open(name, flags | more, rights))


def require_plain_files(folder: Path) -> None:
    """Check that all in a run's folder is files and folders of its own; whoever shares a history can put links there.

    Raises:
        HistoryError: If there is a link, a pipe, a device or the like.
    """
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except (FileNotFoundError, NotADirectoryError):  # a compaction took it away meanwhile
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                raise HistoryError(
                    f"{entry.path} is no regular file, as all of a run are, but a link, a pipe or a device",
                    remedy="Look at it, and remove it.",
                )


def is_plain_file(path: Path) -> bool:
    """Return whether there is a regular file, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _make(folder: Path, rights: int) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
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
