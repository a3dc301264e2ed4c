"""Decisions after a failure: how long to wait, when to give up a generation, and when to end the night."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from overnight.schemas.errors import DiskFault, Outage

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0
MOST_DOUBLINGS = 30
"""Pauses after which the wait has long reached its limit; a night may pause any number of times."""
FULL_DISK_S = 1800.0
"""Seconds that a night waits for a full disk."""


@dataclass
class RetryPolicy:
    """Counts failures since the last generation that ended well.

    An outage is waited out however long it takes, and a full disk for a while. A generation that fails otherwise is
    tried again and then given up, until too many have failed in a row.

    Attributes:
        retries: Number of further attempts at a generation.
        failures: Number of generations that are given up in a row, after which the night ends.
        attempts: Failed attempts at the current generation, without those that an outage failed.
        given_up: Number of the generation that was given up just now.
        full_since: Seconds of the monotonic clock at which the disk was first found full.
    """

    retries: int
    failures: int
    attempts: int = 0
    failed: int = 0
    given_up: int | None = None
    waits: int = 0
    full_since: float | None = None

    def count(self, number: int, error: Exception, seconds: float) -> None:
        """Count a failure of a generation; `given_up` is then its number if it has used up its attempts."""
        self.waits += 1
        self.given_up = None
        if isinstance(error, DiskFault):
            self.full_since = seconds if self.full_since is None else self.full_since
            return
        self.attempts += not isinstance(error, Outage)
        if self.attempts > self.retries:
            self.attempts, self.failed, self.given_up = 0, self.failed + 1, number

    def ends_night(self, error: Exception, seconds: float) -> bool:
        """Return whether the failure that was counted last ends the night."""
        if isinstance(error, DiskFault):
            return self.full_since is not None and seconds - self.full_since >= FULL_DISK_S
        return self.failed >= self.failures

    @property
    def wait_s(self) -> float:
        """Seconds until the next attempt: longer each time."""
        return min(FIRST_WAIT_S * 2 ** min(self.waits - 1, MOST_DOUBLINGS), LONGEST_WAIT_S)

    def message(self, said: str, error: Exception, now: datetime, seconds: float) -> str:
        """Return in words why the night pauses, for how long, and what follows."""
        if self.given_up is not None:
            return (
                f"generation {self.given_up} is given up: {said}; the night goes on without it in {self.wait_s:.0f} s"
            )
        paused = "paused: " if isinstance(error, Outage | DiskFault) else ""
        return f"{paused}{said}; next attempt in {self.wait_s:.0f} s{self._end_of_patience(error, now, seconds)}"

    def _end_of_patience(self, error: Exception, now: datetime, seconds: float) -> str:
        if self.full_since is None or not isinstance(error, DiskFault):
            return ""
        left = max(0.0, self.full_since + FULL_DISK_S - seconds)
        end = now.astimezone() + timedelta(seconds=left)
        return f"; unless there is room by {end:%H:%M}, the night ends"
