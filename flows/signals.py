"""What Ctrl-C does to a night, whatever the night waits for."""

from __future__ import annotations

import contextlib
import contextvars
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from flows.progress import Progress
from schemas.errors import ExitCode

_LOOK_S = 0.25
_ANSWER_S = 1.2
"""Seconds that the Prefect server may take to answer once the night is to end."""

_MISSES = 3
"""Answers in a row that do not come, after which the generation under way cannot end as it should."""

AT_ONCE_S = 8.0
"""Seconds that a night which is stopped at once may take to put things in order."""

_AFTER_MISSES_S = 4.5


class _Watch:
    """Ends the process where a night that is to end cannot: it waits for a Prefect server that does not answer.

    A generation under way may commit, as long as the server answers. Else the night is stopped at once, and where that
    takes too long, too, the process ends. Containers and the embedded server end with it; a generation is committed
    whole or not at all.

    Args:
        progress: Says whether the night is to end.
        answers: Says whether the Prefect server answers.
        abandon: Called before the process is ended by force.

    Attributes:
        at_once_at: `time.monotonic()` by which the process has to have ended; `None` while nothing is urgent.
    """

    def __init__(self, progress: Progress, answers: Callable[[], bool], abandon: Callable[[], None]) -> None:
        self._progress = progress
        self._answers = answers
        self._abandon = abandon
        self._is_over = threading.Event()
        self.at_once_at: float | None = None

    def run(self) -> None:
        misses = 0
        while not self._is_over.wait(_LOOK_S):
            if self.at_once_at is not None:
                if time.monotonic() >= self.at_once_at:
                    self._end()
            elif self._progress.interrupted:
                misses = 0 if self._answers() else misses + 1
                if misses == _MISSES and not self._is_over.is_set():
                    self.at_once_at = time.monotonic() + _AFTER_MISSES_S
                    self._progress.note("the Prefect server does not answer; the night stops at once")
                    # To the main thread by name: one that waits for a lock is woken up by no other's signal.
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
    """The first Ctrl-C, or closing the terminal, lets the generation under way commit; the second stops at once.

    Where the Prefect server does not answer, the first stops at once, too. Whatever the night waits for, the process
    ends within ten seconds then. Only the main thread hears of signals: in another one nothing changes.

    Args:
        progress: Of the night.
        answers: Says whether the Prefect server answers.
        abandon: Called before the process is ended by force.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch(progress, answers, abandon)

    def stop(_number: int, _frame: Any) -> None:
        if progress.interrupted:
            watch.at_once_at = watch.at_once_at or time.monotonic() + AT_ONCE_S
            raise KeyboardInterrupt
        progress.interrupted = True
        progress.message = "finishing this generation; Ctrl-C again stops at once"

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGHUP)}
    context = contextvars.copy_context()  # with the address of the server
    threading.Thread(target=context.run, args=(watch.run,), daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        watch.stop()


def exit_promptly(code: int) -> None:
    """From now on, Ctrl-C ends the process, and what still runs at the end of an interrupted night has seconds.

    Prefect sends what is left when the interpreter ends, which takes minutes where its server does not answer.

    Args:
        code: What the process exits with.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(code))
    if code == ExitCode.INTERRUPTED:
        timer = threading.Timer(2.0, os._exit, args=(code,))
        timer.daemon = True
        timer.start()
