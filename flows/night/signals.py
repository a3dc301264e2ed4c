"""Handling of Ctrl-C and hang-ups during a night, which end it even while it waits for something."""

from __future__ import annotations

import contextlib
import contextvars
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from overnight.flows.night.progress import Progress
from overnight.schemas.errors import ExitCode

_INTERVAL_S = 0.25
_MAX_MISSES = 3
"""Unanswered requests to the Prefect server in a row, after which the generation under way cannot be committed."""

_STOP_TIMEOUT_S = 8.0
"""Seconds that a night which is stopped at once has for its clean-up."""

_STOP_TIMEOUT_AFTER_MISSES_S = 4.5


class _Watchdog:
    """Watchdog that ends the process of an interrupted night which waits for a Prefect server that does not answer.

    As long as the server answers, the generation under way may be committed. Otherwise the night is stopped at once,
    and if that takes too long, the process is ended. Containers and the embedded server end with it. A generation is
    committed as a whole or not at all.

    Attributes:
        end_at: `time.monotonic()` at which the process is ended by force; `None` while the night need not stop at once.
    """

    def __init__(self, progress: Progress, answers: Callable[[], bool], abandon: Callable[[], None]) -> None:
        self._progress = progress
        self._answers = answers
        self._abandon = abandon
        self._is_over = threading.Event()
        self.end_at: float | None = None

    def run(self) -> None:
        misses = 0
        while not self._is_over.wait(_INTERVAL_S):
            if self.end_at is not None:
                if time.monotonic() >= self.end_at:
                    self._end()
            elif self._progress.interrupted:
                misses = 0 if self._answers() else misses + 1
                if misses == _MAX_MISSES and not self._is_over.is_set():
                    self.end_at = time.monotonic() + _STOP_TIMEOUT_AFTER_MISSES_S
                    self._progress.note("the Prefect server does not answer; the night stops at once")
                    # A thread that waits for a lock wakes up only for a signal that is sent to it directly.
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def stop(self) -> None:
        self._is_over.set()

    def _end(self) -> NoReturn:
        try:
            self._abandon()
        finally:
            os._exit(ExitCode.INTERRUPTED)


@contextlib.contextmanager
def handle_interrupts(
    progress: Progress, answers: Callable[[], bool] = lambda: True, abandon: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Handle Ctrl-C and hang-ups during a night while the block lasts.

    The first Ctrl-C, or closing the terminal, ends the night after the generation under way is committed. The second
    stops it at once, and so does the first if the Prefect server does not answer. The process then ends within ten
    seconds, even if the night waits for something; `abandon` is called before it is ended by force. Outside of the main
    thread, which alone receives signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watchdog = _Watchdog(progress, answers, abandon)

    def handle(_number: int, _frame: Any) -> None:
        if progress.interrupted:
            watchdog.end_at = watchdog.end_at or time.monotonic() + _STOP_TIMEOUT_S
            raise KeyboardInterrupt
        progress.interrupt_by_hand()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGHUP)}
    context = contextvars.copy_context()  # with the address of the server
    threading.Thread(target=context.run, args=(watchdog.run,), daemon=True).start()
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        watchdog.stop()


def exit_promptly(code: int) -> None:
    """Let Ctrl-C end the process at once from now on; after an interrupted night it ends within two seconds anyway.

    Otherwise Prefect would send its remaining data when the interpreter ends, which takes minutes if its server does
    not answer.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(code))
    if code == ExitCode.INTERRUPTED:
        timer = threading.Timer(2.0, os._exit, args=(code,))
        timer.daemon = True
        timer.start()
