"""What Ctrl-C does to a night."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from flows.progress import Progress


@contextlib.contextmanager
def heeded(progress: Progress) -> Iterator[None]:
    """The first Ctrl-C, or closing the terminal, lets the generation under way commit; the second stops at once.

    Only the main thread hears of signals: in another one nothing changes.
    """

    def stop(_number: int, _frame: Any) -> None:
        if progress.interrupted:
            raise KeyboardInterrupt
        progress.interrupted = True
        progress.message = "finishing this generation; Ctrl-C again stops at once"

    heard = (signal.SIGINT, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
