"""Lock files and folders of a history."""

from __future__ import annotations

import fcntl
from pathlib import Path

from overnight.schemas.errors import EnvironmentFault


def lock(descriptor: int, path: Path, *, waits: bool = True) -> None:
    """Take the lock on an open file or folder, which the kernel releases once the descriptor is closed.

    Raises:
        BlockingIOError: If another process holds it and it is not to be waited for.
        EnvironmentFault: If its file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise EnvironmentFault(
            f"cannot lock {path}: {error.strerror}; its file system has no locks, so two nights could write one run",
            remedy="Mount it with locks (NFS: without `nolock`), or name a folder on a local disk with --history.",
        ) from error


def is_locked(descriptor: int) -> bool:
    """Return whether somebody else holds the lock on an open file, which is not kept."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
