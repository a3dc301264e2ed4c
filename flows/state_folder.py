"""The folder in which this installation remembers things between commands, for its user alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from schemas.errors import EnvironmentFault


def state_folder() -> Path:
    """Return `overnight` in XDG_STATE_HOME, or in `~/.local/state`; made if it is not there, with mode 0700.

    Raises:
        EnvironmentFault: If it cannot be made, is a link, or belongs to another user.
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
            remedy="Make it writable, or name another place: export XDG_STATE_HOME=/path/of/yours",
        ) from error
    return folder


def require_own(path: Path) -> None:
    """Require that a file or folder belongs to this user and is no link.

    Raises:
        EnvironmentFault: If it does not, or is one.
        OSError: If it is not there.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
        raise EnvironmentFault(
            f"expected {path} to be yours and no link, got one of user {found.st_uid}",
            remedy=f"Look who made it, then remove it: ls -ld {path}",
        )
