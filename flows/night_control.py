"""Decides what a night may still begin: requests, generations, confirmations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from flows.stop_conditions import StopConditions


class NightControl:
    """The limits of the night under way; before a night begins, there are none.

    Attributes:
        number: Number of the night.
        until: Deadline.
        cut_at: Time at which the generations under way are cut short.
        is_cut: Whether they were.
        is_closing: Whether nothing further is requested.
        is_over: Whether no generation may begin or go on.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.until: datetime | None = None
        self.cut_at: datetime | None = None
        self.is_cut = False
        self.is_closing = self.is_over = False
        self._can_keep = True
        self._turn: int | None = None
        self._may_begin: Callable[[int], bool] = lambda _: False
        self._all_asked: Callable[[int], None] = lambda _: None
        self._samples_left: Callable[[int], int | None] = lambda _: None

    def announce(self, conditions: StopConditions) -> None:
        """Set the deadline of a night that is about to begin."""
        self.until, self.cut_at = conditions.until, conditions.cut_at

    def begin(
        self,
        number: int,
        conditions: StopConditions,
        may_begin: Callable[[int], bool],
        all_asked: Callable[[int], None],
        samples_left: Callable[[int], int | None],
    ) -> None:
        """Begin a night.

        Args:
            number: Its number.
            conditions: Its stop conditions.
            may_begin: Returns whether a later generation will be begun, as far as can be known now.
            all_asked: Called when all prompts of a generation are being sampled.
            samples_left: Returns how many samples a generation may ask for; `None` for as many as it has.
        """
        self.announce(conditions)
        self.number = number
        self._turn = 0
        self._may_begin, self._all_asked, self._samples_left = may_begin, all_asked, samples_left

    def give_turn(self, generation: int) -> None:
        """Let a generation settle its results and commit, now that no stop condition has ended the night before it."""
        self._turn = generation

    def has_turn(self, generation: int) -> bool:
        """Return whether a generation may settle its results; without a night, any may."""
        return self._turn is None or self._turn == generation

    def begin_replayed(self, number: int) -> None:
        """Begin a night that is repeated from a record."""
        self.number = number

    def may_begin(self, generation: int) -> bool:
        """Return whether a later generation will be begun, as far as can be known now."""
        return self._may_begin(generation)

    def samples_left(self, generation: int) -> int | None:
        """Return how many samples a generation may ask for; `None` for as many as it has."""
        return self._samples_left(generation)

    def all_asked(self, generation: int) -> None:
        """Note that all prompts of a generation are being sampled, so that the next one may begin."""
        self._all_asked(generation)

    def may_ask(self) -> bool:
        """Return whether completions can be kept and there is time for a request. The budget is checked elsewhere."""
        has_time = self.until is None or datetime.now(UTC) < self.until
        return has_time and self._can_keep and not self.is_closing

    def note_disk(self, *, can_keep: bool) -> None:
        """Note whether completions can be written to disk."""
        self._can_keep = can_keep

    def close(self) -> None:
        """End the night: request nothing further, and withdraw generations under way."""
        self.is_closing = self.is_over = True

    def cut(self) -> None:
        """Cut the generations under way short."""
        self.is_closing = self.is_cut = True

    def seconds_left(self, most: float) -> float:
        """Return the seconds until the generations under way are cut short, `most` at most."""
        if self.cut_at is None:
            return most
        return min(most, (self.cut_at - datetime.now(UTC)).total_seconds())
