"""Share the slots of this machine among all nights of a user, by kernel locks, which a crash releases.

The directory of the locks is in the shared temporary directory, where other users may have created a file of that name
first. So it is only used if it is a directory that belongs to this user and that nobody else may enter. Its files are
opened relative to it, never through a link.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import math
import os
import shlex
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from overnight.schemas.errors import EnvironmentFault

VARIABLE = "OVERNIGHT_SLOTS"
"""Environment variable with the directory of the locks; nights with different directories do not share slots."""

_POLL_S = 0.0005
"""Seconds between two checks for a free slot; one thread of a process checks at a time."""

_YIELD_S = 0.0015
"""Seconds that a process which had to wait then pauses, longer than `_POLL_S`, so that another process gets the next
turn."""

_WARN_AFTER_S = 10.0
"""Seconds of waiting after which a warning says which processes hold the slots."""

_WARN_AGAIN_S = 300.0
"""Seconds between two warnings."""

_HOLDER_CHARS = 120
"""Maximum length of what a warning says of a process, characters."""

_LOG = logging.getLogger("overnight.slots")

_waiting_thread = threading.Lock()

_warned_at: dict[Path, float] = {}
"""When this process warned last of a wait, by directory of the locks."""


class HostSlots:
    """Slots of this machine: at most as many candidates are evaluated at a time, over all processes.

    A separate lock determines which process waits for the next slot. It is passed round, so no night starves.

    Args:
        count: Number of slots of the machine. A night takes the highest number first, so that a night with more slots
            than others leaves them the slots that they know.
        folder: Directory of the locks; by default one per user.

    Attributes:
        holder: Work of this process, for processes that wait for its slots: its run and night.

    Raises:
        EnvironmentFault: If the directory is not accessible to this user alone.
    """

    holder: ClassVar[str] = ""

    def __init__(self, count: int, folder: Path | None = None) -> None:
        self._folder = folder or _default_folder()
        self._slots = [str(number) for number in reversed(range(count))]
        with _open_folder(self._folder):
            pass

    @contextlib.contextmanager
    def acquire(self, closing: threading.Event) -> Iterator[None]:
        """Acquire a slot and hold it within the context; proceed without one once the pool is closing.

        Args:
            closing: Set once the pool is closing.

        Raises:
            EnvironmentFault: If the directory is no longer accessible to this user alone.
        """
        with contextlib.ExitStack() as held:
            with _waiting_thread, _open_folder(self._folder) as folder:
                warning = _WaitWarning(folder, ["next", *self._slots], self._folder)
                with contextlib.ExitStack() as turn:
                    _lock_any(["next"], turn, closing, warning)
                    has_waited = _lock_any(self._slots, held, closing, warning)
                warning.end()
                if has_waited:
                    time.sleep(_YIELD_S)
            yield

    def are_awaited(self) -> bool:
        """Return whether any process, this one included, waits for a slot."""
        with _open_folder(self._folder) as folder:
            return _is_locked(folder, "next")

    def holders(self) -> list[str]:
        """Return what each slot's holder says of itself, for those that are held."""
        with _open_folder(self._folder) as folder:
            return [_read_holder(folder, name) for name in self._slots if _is_locked(folder, name)]


def is_own(holder: str) -> bool:
    """Return whether the holder of a slot is this process."""
    return holder.startswith(f"process {os.getpid()} ")


def _default_folder() -> Path:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir(), f"overnight-slots-{os.getuid()}")


@contextlib.contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    """Open the directory, which is created if it does not exist, as a descriptor.

    Raises:
        EnvironmentFault: If it is not a directory that belongs to this user and that nobody else may enter.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _folder_error(folder, _folder_reason(folder, error)) from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.getuid():
            raise _folder_error(folder, f"it belongs to user {found.st_uid}")
        if found.st_mode & 0o077:
            raise _folder_error(folder, f"others may enter it (mode {stat.S_IMODE(found.st_mode):04o})")
        yield descriptor
    finally:
        os.close(descriptor)


def _folder_reason(folder: Path, error: OSError) -> str:
    """Return why a directory could not be opened; with O_NOFOLLOW, a link fails as `not a directory`, too."""
    if folder.is_symlink():
        return "it is a link"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "it is not a directory"
    return error.strerror or str(error)


def _folder_error(folder: Path, reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the locks of this machine's slots need a directory that only you can enter; cannot use {folder}: {reason}",
        remedy=f"Remove it, or make it yours alone (chmod 700 {folder}), or use another: {VARIABLE}=~/.overnight-slots",
    )


class _WaitWarning:
    """Warning about the processes that hold the locks, repeated from time to time, and a word when the wait is over.

    Of the waits of one process in one folder, only one warns in that time.

    Args:
        folder: Descriptor of the directory of the locks.
        names: Names of the locks.
        place: Path of the directory.
    """

    def __init__(self, folder: int, names: Sequence[str], place: Path) -> None:
        self.folder = folder
        self._names = names
        self._place = place
        self._began = time.monotonic()
        self._next_look = self._began + _WARN_AFTER_S
        self._has_warned = False

    def warn_if_due(self) -> None:
        now = time.monotonic()
        if now < max(self._next_look, _warned_at.get(self._place, -math.inf) + _WARN_AGAIN_S):
            return
        self._next_look = now + _WARN_AFTER_S
        holders = {_read_holder(self.folder, name) for name in self._names} - {""}
        if holders != {_holder()}:
            self._has_warned, _warned_at[self._place] = True, now
            _LOG.warning(
                "%s has waited %.0f s for a free slot of this machine; other processes hold the slots (%s): %s",
                _own_work(),
                now - self._began,
                self._place,
                ", ".join(sorted(holders - {_holder()})) or "unknown processes",
            )

    def end(self) -> None:
        """Say that the wait is over, if a warning was about it."""
        if self._has_warned:
            _LOG.warning(
                "a slot of this machine was free after %.0f s; %s goes on", time.monotonic() - self._began, _own_work()
            )


def _lock_any(
    names: Sequence[str], held: contextlib.ExitStack, closing: threading.Event, warning: _WaitWarning
) -> bool:
    """Lock one of the files until `held` is closed; return whether none was free at first."""
    has_waited = False
    while not closing.is_set():
        for name in names:
            if (lock := _try_lock(warning.folder, name)) is not None:
                held.callback(_unlock, lock)
                return has_waited
        has_waited = True
        warning.warn_if_due()
        time.sleep(_POLL_S)
    return has_waited


def _try_lock(folder: int, name: str) -> int | None:
    """Return a descriptor of a file, locked and naming its holder; None if another process holds the lock."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    with contextlib.suppress(OSError):  # a full disk
        os.ftruncate(lock, 0)
        os.write(lock, _holder().encode())
    return lock


def _is_locked(folder: int, name: str) -> bool:
    with contextlib.suppress(OSError), open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _unlock(lock: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
    os.close(lock)


def _own_work() -> str:
    """Return what this process runs: its run and night, or its command."""
    return HostSlots.holder or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _holder() -> str:
    """Return, for instance, `process 4711 (run toy-1, night 2)`; without what it runs, with its command."""
    what = _own_work()
    room = _HOLDER_CHARS - len(f"process {os.getpid()} ()")
    return f"process {os.getpid()} ({what if len(what) <= room else f'{what[: room - 1]}…'})"


def _read_holder(folder: int, name: str) -> str:
    """Return the text of the process that holds a lock; empty if it is free, or if it cannot be read."""
    with (
        contextlib.suppress(OSError),
        open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), errors="replace") as file,
    ):
        return file.read(_HOLDER_CHARS)
    return ""
