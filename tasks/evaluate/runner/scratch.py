"""Empty the scratch directory after a candidate, so that the next one finds nothing in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from .command import SCRATCH

_WORLD_WRITABLE = tuple(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "mqueue", "shm")
)
"""Device nodes and directories that every user may write to if the engine leaves /dev writable."""

_MAX_PASSES = 8
"""Number of passes over the users: the depth to which directories of two users may be nested in each other."""


def empty(users: Sequence[int | None]) -> None:
    """Remove everything that a candidate left in the scratch directory.

    Args:
        users: Owners of the files; None for the runner's own user. Only the owner can read its directories, because the
            runner has no right to override permissions.

    Raises:
        RuntimeError: If something could not be removed.
    """
    for user in [*users] * _MAX_PASSES:
        if not os.listdir(SCRATCH):
            return
        _empty_as(user)
    if os.listdir(SCRATCH):
        raise RuntimeError(f"what a candidate left in {SCRATCH} could not be removed")


def reset_times() -> None:
    """Set the times of the permanent files that a candidate may have changed to one fixed time.

    Files that are read-only, missing or owned by another user need no reset.
    """
    for place in (SCRATCH, *_WORLD_WRITABLE):
        with suppress(OSError):
            os.utime(place, ns=(0, 0), follow_symlinks=False)


def _empty_as(user: int | None) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            if user is not None:
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            os.chdir(SCRATCH)
            while _remove_own():
                continue
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _remove_own() -> bool:
    """Remove this user's files from the working directory and its directories; return whether there may be more.

    Deeper files are moved up first, because a deep tree would exhaust the recursion limit.
    """
    moved = 0
    for name in os.listdir(b"."):
        if _remove_leaf(name):
            continue
        # A directory of another user may be closed to this one.
        with suppress(PermissionError):
            for inner in os.listdir(name):
                path = os.path.join(name, inner)
                if not _remove_leaf(path) and _is_own(path):
                    while os.path.lexists(b"%d" % moved):
                        moved += 1
                    os.rename(path, b"%d" % moved)
                    moved += 1
        # It may belong to another user, or contain files of another user.
        with suppress(OSError):
            os.rmdir(name)
    return moved > 0


def _remove_leaf(path: bytes) -> bool:
    """Remove a path that is not a directory and return True; open a directory of this user's to everybody."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        with suppress(PermissionError):
            os.unlink(path)
        return True
    if _is_own(path):
        os.chmod(path, 0o777)
    return False


def _is_own(path: bytes) -> bool:
    return os.lstat(path).st_uid == os.getuid()
