"""Create files and folders that only their owner may read, whatever the umask is.

In an existing history, they get the permissions of its folder, so that a history shared with a group stays shared. What
cannot be done raises `OSError`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import IO, Any, Literal

from overnight.schemas.errors import HistoryError

_RUNS = "runs"
_FILE, _FOLDER, _OTHERS, _EXECUTE = 0o600, 0o700, 0o077, 0o111


def make_folder(folder: Path) -> None:
    """Create a folder of a run and its missing parents."""
    _make(folder, _FOLDER | _shared_permissions(folder))


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents, for their owner only."""
    _make(folder, _FOLDER)


def make_folder_like(folder: Path, other: Path) -> None:
    """Create a folder with the permissions of another one."""
    os.mkdir(folder, _FOLDER | stat.S_IMODE(other.stat().st_mode) & _OTHERS)


def open_private(path: Path, mode: Literal["wb", "ab", "xb"], *, follows_link: bool = False) -> IO[Any]:
    """Open a file for writing; an existing one keeps its permissions. Only a file that the user names may be a link."""
    permissions = _FILE | _shared_permissions(path) & ~_EXECUTE
    link_flag = 0 if follows_link else os.O_NOFOLLOW
    return open(path, mode, opener=lambda name, flags: os.open(name, flags | link_flag, permissions))


def create_once(path: Path, content: bytes) -> None:
    """Create a file with its content, whole or not at all; keep the one that another process created first."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with open_private(part, "xb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)


def require_plain_files(folder: Path) -> None:
    """Check that a run's folder has only regular files and folders, since others may write to a shared history.

    Raises:
        HistoryError: If it has a link, a pipe, a device or the like.
    """
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except (FileNotFoundError, NotADirectoryError):  # a compaction removed it meanwhile
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                raise HistoryError(
                    f"{entry.path} is no regular file, as all files of a run are, but a link, a pipe or a device",
                    remedy="Inspect it, and remove it.",
                )


def is_plain_file(path: Path) -> bool:
    """Return whether a path is a regular file, not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _make(folder: Path, permissions: int) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
        try:
            os.mkdir(path, permissions)
        except FileExistsError:  # another process created it meanwhile
            if not path.is_dir():
                raise


def _shared_permissions(path: Path) -> int:
    """Return the permissions of group and others on the history that contains a path; 0 if there is none yet."""
    runs = next((folder for folder in (path, *path.parents) if folder.name == _RUNS), None)
    if runs is None:
        return 0
    try:
        return stat.S_IMODE(runs.parent.stat().st_mode) & _OTHERS
    except FileNotFoundError:
        return 0
