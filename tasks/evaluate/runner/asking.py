"""Ask a model from the process that scores, by `funsearch.ask`: its supervisor passes the question on to the host.

A command's processes import a copy of this module beside the candidate's file, as `overnight_calls.asking`.
"""

from __future__ import annotations

import fcntl
import json
import os

from . import frames

QUESTION_CHARS = 32_768
"""Maximum length of a question, characters."""

QUESTION_BYTES = 12 * QUESTION_CHARS + 2
"""Maximum size of a question as JSON, bytes."""

VARIABLE = "OVERNIGHT_ASK"
"""Environment variable of a command with the descriptors for questions and for answers."""

MODULE = "from overnight_calls.asking import ask\n"
"""Text of the module `funsearch` of a command that may ask."""

_ONLY = (
    "funsearch.ask: only the scoring may ask, in a process without the program: --set sandbox.split=true, or "
    "--set command.process=own for a command"
)


def refuse(prompt: str) -> str:  # noqa: ARG001
    """Take the place of `funsearch.ask` where nothing may be asked.

    Raises:
        RuntimeError: Always.
    """
    raise RuntimeError(_ONLY)


def exchange(asked: int, told: int, prompt: str) -> str:
    """Return the answer to a question; one at a time may use the two pipes.

    Raises:
        TypeError, ValueError: If the question is no text, or is too long.
        RuntimeError: If it is not answered; the reason is the error's text.
    """
    if type(prompt) is not str:
        raise TypeError(f"funsearch.ask takes text, got {type(prompt).__name__}")
    if len(prompt) > QUESTION_CHARS:
        raise ValueError(f"funsearch.ask takes at most {QUESTION_CHARS} characters, got {len(prompt)}")
    frames.write_frames(asked, [json.dumps(prompt).encode()], timeout_s=60.0)
    reply = json.loads(frames.read_frame(told))
    if "answer" not in reply:
        raise RuntimeError(f"funsearch.ask: {reply['error']}")
    return str(reply["answer"])


def ask(prompt: str) -> str:
    """Return a model's answer to a question of a command: of the process that is started, or one that it forks.

    Raises: as for `exchange`.
    """
    ends = [int(end) for end in os.environ.get(VARIABLE, "").split()]
    try:
        asked, told = ends
        os.fstat(asked)
        os.fstat(told)
    except (OSError, ValueError):
        raise RuntimeError("funsearch.ask: only the command's own process may ask, not one that it starts") from None
    with open(__file__, "rb") as own:  # opened anew, so that threads exclude each other, too
        fcntl.flock(own, fcntl.LOCK_EX)
        try:
            return exchange(asked, told, prompt)
        finally:
            fcntl.flock(own, fcntl.LOCK_UN)  # a fork meanwhile has the file open, too
