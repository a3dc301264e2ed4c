"""Folder in which this installation keeps state between commands, readable by its user only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from overnight.schemas.errors import EnvironmentFault


def state_folder() -> Path:
    """Return the folder `overnight` in XDG_STATE_HOME or `~/.local/state`; create it if necessary, with mode 0700.

    Raises:
        EnvironmentFault: If it cannot be created, is a link, or belongs to another user.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    folder = (Path(base) if os.path.isabs(base) else Path.home() / ".local/state") / "overnight"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_own(folder)
        folder.chmod(0o700)
    except OSError as error:
        raise EnvironmentFault(
            f"expected a folder for the state of Overnight, got: {error.strerror}: {folder}",
            remedy="Make it writable, or name another folder: export XDG_STATE_HOME=/path/of/yours",
        ) from error
    return folder


def require_own(path: Path) -> None:
    """Raise an EnvironmentFault unless a file or folder, which has to exist, belongs to this user and is no link."""
    found = path.lstat()
    is_link = stat.S_ISLNK(found.st_mode)
    if is_link or found.st_uid != os.geteuid():
        raise EnvironmentFault(
            f"expected {path} to be yours and no link, got {'a link' if is_link else 'one'} of user {found.st_uid}",
            remedy=f"Check who created it, then remove it: ls -ld {path}",
        )
