"""News of a session while it works: at its start, with each better program, once a minute, and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_EVERY_S = 60.0


@dataclass
class News:
    """Progress of a session, for people who watch; it is told as it happens.

    Attributes:
        name: Name of the session, such as `mini-swe-agent 3`.
        tell: Takes a line.
        turns: Answers of its model, those from the record included.
        again: Answers of these that were in the record, and were not paid again.
        scored: Programs that it has had scored.
        best: The best score of these.
        recorded: Answers of its model in the record when it began.
    """

    name: str
    tell: Callable[[str], None]
    turns: int = 0
    again: int = 0
    scored: int = 0
    best: float | None = None
    recorded: int = 0
    _began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)
    _is_asking: bool = False

    @property
    def state(self) -> str:
        """Its progress in a few words."""
        if not self._is_asking:
            return f"{self.name}: starting for {self._seconds}"
        best = "" if self.best is None else f", best {self.best:z.6g}"
        again = f" ({self.again} of them from the record)" if self.again else ""
        return f"{self.name}: {_count(self.turns, 'turn')}{again}, {_count(self.scored, 'program')} scored{best}"

    @property
    def _seconds(self) -> str:
        seconds = round(time.monotonic() - self._began)
        return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min {seconds % 60:02d} s"

    def started(self) -> None:
        known = f"; {_count(self.recorded, 'turn')} from the record, whose commands run again" if self.recorded else ""
        self._say(f"{self.name}: its container has started{known}")

    def asked(self) -> None:
        """Note the first request."""
        if not self._is_asking:
            self._is_asking = True
            self._say(f"{self.name}: first request after {self._seconds}")

    def begin_again(self, turns: int, scores: Sequence[float | None]) -> None:
        """Note the answers that earlier sessions had of their model, and the programs that they had scored."""
        self.recorded = turns
        self.scored = len(scores)
        self.best = max((one for one in scores if one is not None), default=None)

    def turn(self, *, is_from_record: bool) -> None:
        if self.again == self.turns > 0 and not is_from_record:
            self._say(f"{self.state}: it goes on from here")
        self.turns += 1
        self.again += is_from_record
        if time.monotonic() - self._told >= _EVERY_S:
            self._say(self.state)

    def evaluation(self, score: float | None) -> None:
        self.scored += 1
        if score is not None and (self.best is None or score > self.best):
            self.best = score
            self._say(self.state)

    def ended(self, how: str) -> None:
        self._say(f"{self.state}; {how} after {self._seconds}")

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        self.tell(f"agent {text}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
