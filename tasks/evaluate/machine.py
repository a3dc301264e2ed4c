"""The slots of this machine, shared by all nights on it: kernel locks, which no crash leaves behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

VARIABLE = "OVERNIGHT_SLOTS"
"""Names the folder of the locks; nights with different ones do not know of each other."""

_LOOK_S = 0.0005
"""Seconds between two looks for a free slot; one thread of a process looks at a time."""

_YIELD_S = 0.0015
"""Seconds that a process which had to wait leaves its turn to others: more than they take to look."""

_turn = threading.Lock()


class MachineSlots:
    """Leave to evaluate, for as many candidates at a time as the machine has slots, whichever process they are of.

    Whose turn it is to wait for the next slot is a lock of its own, which goes round: no night starves.

    Args:
        count: Slots of the machine, of which a night takes the last first: one that has more slots than others leaves
            those that they know of.
        folder: Where the locks are; by default one for each user.
    """

    def __init__(self, count: int, folder: Path | None = None) -> None:
        folder = folder or _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._next = folder / "next"
        self._slots = [folder / str(number) for number in reversed(range(count))]

    @contextlib.contextmanager
    def one(self, closing: threading.Event) -> Iterator[None]:
        """Holds a slot, once there is a free one; goes on without where nobody waits for an answer any more.

        Args:
            closing: Set when that is so.
        """
        with contextlib.ExitStack() as held:
            with _turn:
                with contextlib.ExitStack() as turn:
                    _wait_for([self._next], turn, closing)
                    has_waited = _wait_for(self._slots, held, closing)
                if has_waited:
                    time.sleep(_YIELD_S)
            yield


def _folder() -> Path:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir(), f"overnight-slots-{os.getuid()}")


def _wait_for(files: list[Path], held: contextlib.ExitStack, closing: threading.Event) -> bool:
    """Locks one of some files, until `held` is closed. Whether none was free at first."""
    has_waited = False
    while not closing.is_set():
        for file in files:
            if (lock := _locked(file)) is not None:
                held.enter_context(lock)
                return has_waited
        has_waited = True
        time.sleep(_LOOK_S)
    return has_waited


def _locked(file: Path) -> IO[bytes] | None:
    handle = file.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle
