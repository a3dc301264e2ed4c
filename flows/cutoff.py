"""The end of a night's grace: the generation under way is cut short, whatever it is waiting for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

_LOOK_S = 1.0
"""Seconds between two looks at the clock, which may be set, or go on while the machine sleeps."""


@contextlib.contextmanager
def cut_off(at: datetime | None, cut: Callable[[], None]) -> Iterator[None]:
    """Call `cut` from another thread once a moment has passed, unless the block has ended before.

    Args:
        at: The moment; None for never.
        cut: Called at most once.
    """
    if at is None:
        yield
        return
    over = threading.Event()

    def wait() -> None:
        while (left_s := (at - datetime.now(UTC)).total_seconds()) > 0:
            if over.wait(min(_LOOK_S, left_s)):
                return
        if not over.is_set():
            cut()

    waiting = threading.Thread(target=wait, name="overnight-cutoff", daemon=True)
    waiting.start()
    try:
        yield
    finally:
        over.set()
        waiting.join()
