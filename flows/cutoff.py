"""Timer that cuts work short at a given time, such as the generation under way at the end of the grace period."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

_INTERVAL_S = 1.0
"""Seconds between two reads of the clock, which may be set or may advance while the machine sleeps."""


@contextlib.contextmanager
def cut_off(at: datetime | None, cut: Callable[[], None]) -> Iterator[None]:
    """Call `cut` from another thread at a given time, unless the block has ended before.

    Args:
        at: Time of the call; None for never.
        cut: Function that is called at most once.
    """
    if at is None:
        yield
        return
    has_ended = threading.Event()

    def wait() -> None:
        while (left_s := (at - datetime.now(UTC)).total_seconds()) > 0:
            if has_ended.wait(min(_INTERVAL_S, left_s)):
                return
        if not has_ended.is_set():
            cut()

    timer = threading.Thread(target=wait, name="overnight-cutoff", daemon=True)
    timer.start()
    try:
        yield
    finally:
        has_ended.set()
        timer.join()
