"""Define the protocols of a sandbox and of the channel to a runner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from schemas.bundle import Source
from schemas.outcome import Verdict


class Sandbox(Protocol):
    """Judge of programs. Every implementation passes `tests/contract/test_sandbox.py`."""

    def evaluate(self, source: Source) -> Verdict:
        """Judge one program, and wait for the verdict.

        Thread-safe. It returns exactly one verdict, whatever dies: a candidate whose container was lost is run once
        more, and is a `sandbox_error` if that fails, too.

        Args:
            source: The whole program: the skeleton with the candidate's body in place.
        """
        ...

    def close(self) -> None:
        """End every container; evaluations in progress become `sandbox_error`."""
        ...


@dataclass(frozen=True)
class Death:
    """Reason why a runner ended.

    Attributes:
        reason: Description of the reason.
        out_of_memory: Whether the kernel ended the whole container because memory ran out.
    """

    reason: str
    out_of_memory: bool = False


class Channel(Protocol):
    """Standard input and output of a started runner, as seen from the host. For one thread at a time.

    Only `close` may be called from another thread; calls in progress then end as if the runner had died.
    """

    def send(self, data: bytes, *, timeout_s: float) -> None:
        """Send all data.

        Raises:
            OSError: If the runner or the engine is gone; TimeoutError if the runner does not read.
        """
        ...

    def receive(self, *, timeout_s: float) -> bytes:
        """Return the next piece of the runner's standard output; empty at its end.

        Raises:
            OSError: As for `send`.
        """
        ...

    def death(self, *, since_s: float) -> Death:
        """Return why the runner ended, as far as is known.

        Args:
            since_s: Time at which the last candidate was sent, seconds since 1970.
        """
        ...

    def close(self) -> None:
        """End the runner and its descendants. It may be called more than once."""
        ...
