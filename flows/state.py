"""The folder in which this installation remembers things between commands, for its user alone."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.errors import EnvironmentFault


def state_folder() -> Path:
    """Return `overnight` in XDG_STATE_HOME, or in `~/.local/state`; made with mode 0700 if it is not there.

    Raises:
        EnvironmentFault: If it cannot be made.
    """
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state", "overnight")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot make {folder}: {error.strerror}", remedy="Name a folder that can be written: XDG_STATE_HOME=DIR"
        ) from error
    return folder
