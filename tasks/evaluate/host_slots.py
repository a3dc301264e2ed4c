"""The slots of this machine, shared by all nights of a user on it: kernel locks, which no crash leaves behind.

Their folder lies among everybody's temporary files, where other users may have put something of that name first. So it
is only used if it is a directory of this user's that nobody else may enter, and its files are opened within it, never
by way of a link.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.errors import EnvironmentFault

VARIABLE = "OVERNIGHT_SLOTS"
"""Names the folder of the locks; nights with different ones do not know of each other."""

_LOOK_S = 0.0005
"""Seconds between two looks for a free slot; one thread of a process looks at a time."""

_YIELD_S = 0.0015
"""Seconds that a process which had to wait leaves its turn to others: more than they take to look."""

_WORD_S = 10.0
"""Seconds of waiting after which the person is told who holds the slots."""

_WORD_AGAIN_S = 300.0
"""Seconds until they are told again."""

_COMMAND = 100
"""Characters of a process's command line that are told."""

_LOG = logging.getLogger("overnight.slots")

_turn = threading.Lock()


class HostSlots:
    """Leave to evaluate, for as many candidates at a time as the machine has slots, whichever process they are of.

    Whose turn it is to wait for the next slot is a lock of its own, which goes round: no night starves.

    Args:
        count: Slots of the machine, of which a night takes the last first: one that has more slots than others leaves
            those that they know of.
        folder: Where the locks are; by default one for each user.

    Raises:
        EnvironmentFault: If the folder is not this user's alone.
    """

    def __init__(self, count: int, folder: Path | None = None) -> None:
        self._folder = folder or _folder()
        self._slots = [str(number) for number in reversed(range(count))]
        with _opened(self._folder):
            pass

    @contextlib.contextmanager
    def one(self, closing: threading.Event) -> Iterator[None]:
        """Holds a slot, once there is a free one; goes on without where nobody waits for an answer any more.

        Args:
            closing: Set when that is so.

        Raises:
            EnvironmentFault: If the folder has become somebody else's.
        """
        with contextlib.ExitStack() as held:
            with _turn, _opened(self._folder) as folder:
                wait = _Wait(folder, ["next", *self._slots], self._folder)
                with contextlib.ExitStack() as turn:
                    _wait_for(["next"], turn, closing, wait)
                    has_waited = _wait_for(self._slots, held, closing, wait)
                if has_waited:
                    time.sleep(_YIELD_S)
            yield


def _folder() -> Path:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir(), f"overnight-slots-{os.getuid()}")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Opens the folder, which is made if it is not there, as a descriptor.

    Raises:
        EnvironmentFault: If it is not a directory of this user's that nobody else may enter.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _refusal(folder, _reason(folder, error)) from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.getuid():
            raise _refusal(folder, f"it belongs to user {found.st_uid}")
        if found.st_mode & 0o077:
            raise _refusal(folder, f"others may enter it (mode {stat.S_IMODE(found.st_mode):04o})")
        yield descriptor
    finally:
        os.close(descriptor)


def _reason(folder: Path, error: OSError) -> str:
    """What is wrong where a folder cannot be opened: with O_NOFOLLOW a link is `not a directory`, too."""
    if folder.is_symlink():
        return "it is a link"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "it is not a directory"
    return error.strerror or str(error)


def _refusal(folder: Path, reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the slots of this machine need a directory that is yours alone, and {folder} is not used: {reason}",
        remedy=f"Remove it, or make it yours (chmod 700 {folder}); or name another: {VARIABLE}=~/.overnight-slots",
    )


class _Wait:
    """Tells the person, once in a while, who holds what is waited for.

    Args:
        folder: The open folder of the locks.
        names: Of the locks.
        place: What the folder is called.
    """

    def __init__(self, folder: int, names: Iterable[str], place: Path) -> None:
        self.folder = folder
        self._names = names
        self._place = place
        self._began = time.monotonic()
        self._next_word = self._began + _WORD_S

    def tell(self) -> None:
        now = time.monotonic()
        if now < self._next_word:
            return
        self._next_word = now + _WORD_AGAIN_S
        holders = _holders(self.folder, self._names)
        others = [process for process in holders if process != os.getpid()]
        if holders and not others:
            return
        _LOG.warning(
            "waiting for a free slot of this machine for %.0f s; others hold them (%s): %s",
            now - self._began,
            self._place,
            ", ".join(map(_described, others)) or "this system does not say which processes",
        )


def _wait_for(names: list[str], held: contextlib.ExitStack, closing: threading.Event, wait: _Wait) -> bool:
    """Locks one of some files, until `held` is closed. Whether none was free at first."""
    has_waited = False
    while not closing.is_set():
        for name in names:
            if (lock := _locked(wait.folder, name)) is not None:
                held.callback(os.close, lock)
                return has_waited
        has_waited = True
        wait.tell()
        time.sleep(_LOOK_S)
    return has_waited


def _locked(folder: int, name: str) -> int | None:
    """A descriptor of a file, locked; None if somebody else has locked it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _holders(folder: int, names: Iterable[str]) -> list[int]:
    """Ids of the processes that hold any of the locks, as far as the system tells."""
    wanted = set()
    for name in names:
        with contextlib.suppress(OSError):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            wanted.add(f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}")
    held = set()
    # Lines such as `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`; macOS has no such file.
    with contextlib.suppress(OSError), open("/proc/locks") as file:
        fields = [line.split() for line in file]
        held = {int(line[4]) for line in fields if line[1] == "FLOCK" and line[5] in wanted}
    return sorted(held)


def _described(process: int) -> str:
    """`process 4711 (overnight run toy.py)`."""
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    return f"process {process}" + (f" ({command[:_COMMAND]})" if command else "")
