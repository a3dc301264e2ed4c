"""What every sandbox is: the two protocols, and the errors between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from schemas.outcome import Verdict


class Sandbox(Protocol):
    """Judges programs. Every implementation passes `tests/contract/test_sandbox.py`."""

    def evaluate(self, source: str) -> Verdict:
        """Judges one program; waits until that is done.

        Thread-safe. Gives exactly one verdict, whatever dies: a candidate whose container was lost is tried once more,
        then it is `sandbox_error`.

        Args:
            source: The whole program: the specification with the candidate's body in place.
        """
        ...

    def close(self) -> None:
        """Ends every container; evaluations under way become `sandbox_error`."""
        ...


@dataclass(frozen=True)
class Death:
    """Why a runner is no longer there.

    Attributes:
        reason: In words.
        out_of_memory: Whether the kernel ended the whole container for want of memory.
    """

    reason: str
    out_of_memory: bool = False


class Channel(Protocol):
    """A runner that was started, seen from the host: its standard input and output. For one thread at a time.

    Only `close` may be called from another thread; the others then end as if the runner had died.
    """

    def send(self, data: bytes, *, timeout_s: float) -> None:
        """Sends everything.

        Raises:
            OSError: If the runner or the engine is gone; TimeoutError if it does not read.
        """
        ...

    def receive(self, *, timeout_s: float) -> bytes:
        """The next piece of the runner's standard output; empty at its end.

        Raises:
            OSError: As for `send`.
        """
        ...

    def death(self, *, since_s: float) -> Death:
        """Why it ended, as far as can be known.

        Args:
            since_s: When the last candidate was sent, seconds since 1970.
        """
        ...

    def close(self) -> None:
        """Ends the runner and whatever runs below it. More than once is fine."""
        ...
