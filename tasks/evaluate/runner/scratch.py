"""Empties the scratch directory after a candidate, so that the next finds nothing of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from .command import SCRATCH

_OPEN_TO_ALL = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "mqueue", "shm"))
"""Device nodes and folders that every user may write to, where an engine leaves the folder of devices writable."""

_ROUNDS = 8
"""How often in turn: as deep as the folders of two users may lie in each other."""


def empty(users: Sequence[int | None]) -> None:
    """Removes all that a candidate left.

    Args:
        users: Whose files they are; None for the runner's own. Without the right to override permissions, only their
            owner may look into its directories.

    Raises:
        RuntimeError: If something is left.
    """
    for user in [*users] * _ROUNDS:
        if not os.listdir(SCRATCH):
            return
        _empty_as(user)
    if os.listdir(SCRATCH):
        raise RuntimeError(f"what a candidate left in {SCRATCH} could not be removed")


def reset_times() -> None:
    """Set the times of what a candidate may date, and which stays, to one fixed time.

    What is read-only, somebody else's, or not there does not need it.
    """
    for place in (SCRATCH, *_OPEN_TO_ALL):
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
    """Removes what is this user's from the working directory and the directories in it; whether there may be more.

    Without recursion, which a deep tree would exhaust: what lies deeper is moved up first.
    """
    moved = 0
    for name in os.listdir(b"."):
        if _remove_leaf(name):
            continue
        # Another's may be closed.
        with suppress(PermissionError):
            for inner in os.listdir(name):
                path = os.path.join(name, inner)
                if not _remove_leaf(path) and _is_own(path):
                    while os.path.lexists(b"%d" % moved):
                        moved += 1
                    os.rename(path, b"%d" % moved)
                    moved += 1
        # Another's, or with something of another's in it.
        with suppress(OSError):
            os.rmdir(name)
    return moved > 0


def _remove_leaf(path: bytes) -> bool:
    """Removes what is no directory; one that is this user's is opened to everybody."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        with suppress(PermissionError):
            os.unlink(path)
        return True
    if _is_own(path):
        os.chmod(path, 0o777)
    return False


def _is_own(path: bytes) -> bool:
    return os.lstat(path).st_uid == os.getuid()
