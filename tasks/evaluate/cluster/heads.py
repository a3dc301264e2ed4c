"""The heads that a machine hears of, each by the name of its connection.

A head that was killed cannot end its jobs. Each task says whose it is, and a head without tasks sends a sign of life
now and then, so that a machine can tell.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import ContextVar

_HEARD = Counter[str]()
"""Number of tasks of each head so far."""

_LOCK = threading.Lock()

_CURRENT: ContextVar[str] = ContextVar("head", default="")


def do_for(head: str, task: Callable[..., bytes], *args: object) -> bytes:
    """Do a task for a head.

    Args:
        head: Name of the head.
        task: The task.
        args: Its arguments.
    """
    with _LOCK:
        _HEARD[head] += 1
    token = _CURRENT.set(head)
    try:
        return task(*args)
    finally:
        _CURRENT.reset(token)


def sign_of_life() -> bytes:
    """Do nothing, as a task that shows that its head is there."""
    return b""


def current_head() -> str:
    """Return the head whose task this thread does; empty outside a task."""
    return _CURRENT.get()


def tasks_of(heads: Iterable[str]) -> int:
    """Return how many tasks came from some heads so far."""
    with _LOCK:
        return sum(_HEARD[head] for head in heads)
