"""The failures of one night: what failed, whether it is tried again or given up, and until when the night pauses."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from overnight.flows.formatting import cause_text, error_text
from overnight.flows.night import events
from overnight.flows.night.retry_policy import RetryPolicy
from overnight.schemas.errors import HistoryGone, TerminalProviderError, UsageError

FINAL = (TerminalProviderError, UsageError, HistoryGone)
"""Errors that end a night: no further attempt can help."""


class Failures:
    """Failures since the last commit.

    Args:
        retries: Number of further attempts at a generation.
        failures: Number of generations that are given up in a row, after which the night ends.

    Attributes:
        pending: Generation that failed, and its error: the files are read again before the night goes on.
        paused_until: Seconds of the monotonic clock until which the night pauses.
    """

    def __init__(self, retries: int, failures: int) -> None:
        self.pending: tuple[int, Exception] | None = None
        self.paused_until: float | None = None
        self._most = retries, failures
        self._policy = RetryPolicy(retries, failures)
        self._failing: int | None = None
        self._is_given_up = self._is_losing_time = False

    def note(self, number: int, error: Exception) -> None:
        """Note the failure of a generation; of several at a time, the first one counts."""
        self.pending = self.pending or (number, error)

    def take(self) -> tuple[int, Exception] | None:
        """Return the failure that is pending, which it is no longer."""
        pending, self.pending = self.pending, None
        return pending

    def note_committed(self, number: int, put_off: AbstractSet[int]) -> None:
        """Count anew after a commit, but for failures of a session that is put off, which count beside commits."""
        if self._failing not in put_off - {number}:
            self._policy = RetryPolicy(*self._most)

    def uses_up(self, number: int, error: Exception, seconds: float) -> bool:
        """Count a failure, once; return whether the generation has used up its attempts, and is to be given up."""
        if self._is_given_up:
            self._is_given_up = False
            return False
        self._failing = number
        self._policy.count(number, error, seconds)
        return self._policy.given_up is not None

    def give_up(self, number: int, error: Exception) -> None:
        """Note that a generation was given up: its failure counts no more when the files have been read."""
        self.note(number, error)
        self._is_given_up = True

    def ends_night(self, error: Exception, seconds: float) -> bool:
        """Return whether an error ends the night, or was one too many."""
        return isinstance(error, FINAL) or self._policy.ends_night(error, seconds)

    def pause(self, error: Exception, clock: events.Clock) -> tuple[events.Action, ...]:
        """Begin a pause after an error that was counted, and return what is done for it."""
        wait_s = self._policy.wait_s
        self.paused_until = clock.seconds + wait_s
        self._is_losing_time = True
        message = self._policy.message(error_text(error), error, clock.now, clock.seconds)
        return events.Phase("paused"), events.Say(message), events.Pause(wait_s, cause_text(error))

    def end_loss(self) -> tuple[events.Action, ...]:
        """Return what is done once work is done again: attempts after a pause that fail, too, belong to it."""
        was_losing, self._is_losing_time = self._is_losing_time, False
        return (events.Pause(None, ""),) if was_losing else ()
