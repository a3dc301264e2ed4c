"""Empties the scratch directory after a candidate, so that the next finds nothing of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from .command import SCRATCH


def empty(users: Sequence[int | None]) -> None:
    """Removes all that a candidate left.

    Args:
        users: Whose files they are; None for the runner's own. Without the right to override permissions, only their
            owner may look into its directories.

    Raises:
        RuntimeError: If something is left.
    """
    for user in users:
        if os.listdir(SCRATCH):
            _empty_as(user)
    if os.listdir(SCRATCH):
        raise RuntimeError(f"what a candidate left in {SCRATCH} could not be removed")


def _empty_as(user: int | None) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            if user is not None:
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            os.chdir(SCRATCH)
            _remove_own()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _remove_own() -> None:
    """Removes this user's files from the working directory.

    Without recursion, which a deep tree would exhaust: what lies deeper is moved up first.
    """
    moved = 0
    while names := [name for name in os.listdir(b".") if os.lstat(name).st_uid == os.getuid()]:
        for name in names:
            if not _remove_leaf(name):
                for inner in os.listdir(name):
                    path = os.path.join(name, inner)
                    if not _remove_leaf(path):
                        while os.path.lexists(b"%d" % moved):
                            moved += 1
                        os.rename(path, b"%d" % moved)
                os.rmdir(name)


def _remove_leaf(path: bytes) -> bool:
    """Removes what is no directory; a directory is opened."""
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.chmod(path, 0o700)
        return False
    os.unlink(path)
    return True
