"""Commands of `overnight` in processes of their own: lines of JSON become events, and errors become exceptions.

A night handles Ctrl-C, may end its process by force, and sets variables that Prefect and LiteLLM read when they are
imported. None of that should happen to the user's process, nor to a notebook with an event loop of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from os import PathLike
from queue import SimpleQueue
from typing import IO, Any, SupportsFloat

from overnight.schemas import errors
from overnight.schemas.errors import ExitCode, OvernightError

_ERROR = "error"
"""Kind of the event that carries the error of a command."""

_FINISHES_S = 60.0
"""Seconds in which a night of nobody may finish the generation under way."""

_LINES_KEPT = 20
"""Last lines of hidden messages that are part of an error which has no other message."""

Event = dict[str, Any]


def command(name: str, *arguments: str, flags: Mapping[str, Any]) -> list[str]:
    """Return the words of a command.

    Args:
        name: Name of the command.
        arguments: Its positional arguments.
        flags: Values by the names of the flags, with `_` for `-`. None and False leave a flag out, True is the flag
            alone, a sequence repeats it, and a mapping repeats it with `key=value`.
    """
    words = [name]
    for flag, value in flags.items():
        for text in _texts(value):
            words += [f"--{flag.replace('_', '-')}", *text]
    return [*words, "--", *arguments]


def _texts(value: Any) -> Iterable[list[str]]:
    """Return the text that each repetition of a flag is followed by."""
    match value:
        case None | False:
            return []
        case True:
            return [[]]
        case Mapping():
            return [[f"{key}={each if isinstance(each, str) else json.dumps(each)}"] for key, each in value.items()]
        case str() | PathLike() | SupportsFloat():
            return [[str(value)]]
        case datetime():
            return [[value.isoformat()]]
        case timedelta():
            return [[f"{max(1, round(value.total_seconds()))}s"]]
        case _:
            return [text for each in value for text in _texts(each)]


def call(
    words: Sequence[str], on_event: Callable[[Event], None] | None = None, *, shows_messages: bool = False
) -> None:
    """Run a command in a process of its own until it ends.

    Ctrl-C is passed on: the first ends a night after the generation under way, the second stops it at once. An
    exception of `on_event` is raised once the night has ended in the same way, so that nothing is lost.

    Args:
        words: The command.
        on_event: Called in this thread with each line of JSON that the command prints.
        shows_messages: Whether messages of the command go to stderr, where a terminal shows a live panel.

    Raises:
        OvernightError: The error that the command ended with.
        KeyboardInterrupt: If it was stopped at once.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, *words],
        stdin=subprocess.PIPE,  # nothing is written: its end tells that this process has ended
        stdout=subprocess.PIPE,
        stderr=None if shows_messages else subprocess.PIPE,
        process_group=0,  # Ctrl-C of a terminal reaches this process alone, which passes it on
    )
    messages, last = deque[str](maxlen=_LINES_KEPT), Event()
    try:
        for event in _events(process, messages):
            if event["event"] == _ERROR:
                raise _exception(event)
            last = event
            if on_event:
                try:
                    on_event(event)
                except KeyboardInterrupt:  # Ctrl-C came while it ran
                    process.send_signal(signal.SIGINT)
    finally:
        _end(process)
    has_ended = last.get("event") == "night"
    if process.returncode == ExitCode.INTERRUPTED and not has_ended:
        raise KeyboardInterrupt
    if process.returncode not in (ExitCode.DONE, *((ExitCode.FAILED, ExitCode.INTERRUPTED) if has_ended else ())):
        said = "".join(messages).strip() or "its messages are above"
        raise OvernightError(
            f"`overnight {words[0]}` ended with exit code {process.returncode}: {said}",
            remedy=f"`overnight {words[0]} --help` explains it, and `overnight doctor` checks this machine.",
        )


def _events(process: subprocess.Popen[bytes], messages: deque[str]) -> Iterator[Event]:
    """Yield the events of a command until it closes its stdout, and keep its last messages."""
    lines = SimpleQueue[str | None]()
    _read(process.stdout, lines.put)
    _read(process.stderr, lambda line: messages.append(line or ""))
    while True:
        try:
            line = lines.get()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            continue
        if line is None:
            return
        try:
            yield {"event": "", **json.loads(line)}
        except json.JSONDecodeError as error:
            raise OvernightError(
                f"expected an event of the night as JSON, got {line!r}",
                remedy="Something else writes to standard output in its process, such as a plug-in.",
            ) from error


def _read(stream: IO[bytes] | None, take: Callable[[str | None], object]) -> None:
    """Pass on the lines of a stream, and None at its end, from a thread: Ctrl-C would cut a line that is being read."""

    def read(stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                take(line.decode(errors="replace"))
        take(None)

    if stream is not None:
        threading.Thread(target=read, args=[stream], daemon=True).start()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait until a command has ended; one that is not asked for any longer is interrupted."""
    if sys.exc_info()[0] is not None and process.poll() is None:
        process.send_signal(signal.SIGINT)
    while True:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
        else:
            if process.stdin:
                process.stdin.close()
            return


def _exception(event: Event) -> OvernightError:
    """Return the error of a command as the exception that it was there."""
    kind = getattr(errors, event["type"], OvernightError)
    return kind(event["message"], remedy=event["remedy"])


def _report(error: OvernightError) -> None:
    from overnight.flows.cli.printing import write_json

    write_json({"event": _ERROR, "type": type(error).__name__, "message": error.message, "remedy": error.remedy})


def _end_with_caller() -> None:
    """End the night once the process that asked for it has ended: as Ctrl-C does, and pressed again a minute later."""
    os.read(0, 1)
    nobody = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nobody, stream)  # what is told to nobody is no error
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_FINISHES_S)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    from overnight.flows.cli.main import main

    threading.Thread(target=_end_with_caller, name="overnight-caller", daemon=True).start()
    main(sys.argv[1:], report=_report)
