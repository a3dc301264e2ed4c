"""A night in the foreground: the server, the live view, Ctrl-C, and what is shown at the end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flows.cli.live import live_view
from flows.cli.summary import print_summary
from flows.cli.text import say
from flows.progress import Progress
from flows.rules import StopRules
from flows.search import search
from flows.server import PrefectServer
from flows.session import open_session
from schemas.errors import ExitCode
from schemas.generation import StopReason
from tasks.history.files import RunFiles


def spend_night(get_run: Callable[[], RunFiles], rules: StopRules, history: Path) -> int:
    """Conducts one night and shows its end.

    Args:
        get_run: Makes or finds the run; called while the server starts.
        rules: When to stop.
        history: Directory of the history.

    Returns:
        The exit code.
    """
    with PrefectServer() as server:
        threading.Thread(target=_import_slow_libraries, daemon=True).start()
        files = get_run()
        with open_session(files) as session:
            say(f"run {files.run_id}, seed {session.run.seed}")
            with server.connected(), _ctrl_c(session.progress), live_view(session, rules):
                result = search(files.run_id, str(history), rules)
    print_summary(history, files.run_id, result["night"])
    interrupted = result["stop_reason"] == StopReason.INTERRUPTED
    return ExitCode.INTERRUPTED if interrupted else ExitCode.DONE


def _import_slow_libraries() -> None:
    from tasks.sample.gateway import missing_key

    missing_key("builtin/mutate")


@contextlib.contextmanager
def _ctrl_c(progress: Progress) -> Iterator[None]:
    """The first Ctrl-C lets the generation under way finish and commit; the second stops at once."""

    def stop(_number: int, _frame: Any) -> None:
        if progress.interrupted:
            raise KeyboardInterrupt
        progress.interrupted = True
        progress.message = "finishing this generation; Ctrl-C again stops at once"

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
