"""The ledger of tried ideas and errors: what a prompt tells of earlier answers; no model is asked for it."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

_MAX_ERROR_CHARS = 160
_VERSION = re.compile(r"`?\b\w+_v\d+\b`?")
"""Name of a version, which is another program in another prompt."""

_REMEMBERED = 200
"""Judged ideas that are remembered, beside the best gains."""

_GAINS = 4
"""Ideas with the largest gains that are listed."""

_OF_BASE = 10
"""Latest ideas on the base that are listed."""

_ERRORS = 24
"""Latest different errors that are listed."""

_FREQUENT = 5
"""Most frequent ideas of the run that are listed, if each was tried so often."""

_OFTEN = 3


@dataclass(frozen=True, slots=True)
class TriedIdea:
    """A judged idea.

    Attributes:
        base_id: Id of the program that it changed.
        gain: Its gain; 0 if there was none.
        error: Error with which it failed; empty if it has a score.
        change: Its score minus that of the program that it changed; `None` if it has none.
        raised: Rise of the best score of the run by it; 0 if there was none.
    """

    idea: str
    base_id: str
    gain: float
    error: str = ""
    change: float | None = None
    raised: float = 0.0

    @property
    def outcome(self) -> str:
        """Result, in words."""
        if self.error:
            return f"failed: {_last_line(self.error)}"
        if self.change is None:
            return "no new program"
        return (
            "equal" if self.change == 0.0 else f"{'better' if self.change > 0.0 else 'worse'} by {abs(self.change):.3g}"
        )


class Ledger:
    """Remembers tried ideas and errors, and lists those that matter for a base."""

    def __init__(self, chars: int) -> None:
        self._chars = chars
        self._latest: deque[TriedIdea] = deque(maxlen=_REMEMBERED)
        self._best: list[TriedIdea] = []
        self._errors: dict[str, None] = {}

    def add(self, tried: TriedIdea) -> None:
        if error := _last_line(tried.error):
            self._errors.pop(error, None)
            self._errors[error] = None
            if len(self._errors) > _ERRORS:
                del self._errors[next(iter(self._errors))]
        if not tried.idea:
            return
        self._latest.append(tried)
        if tried.raised > 0.0:
            self._best = sorted([*self._best, tried], key=lambda one: one.raised, reverse=True)[:_GAINS]

    def text(self, base_ids: Collection[str], *, lists_ideas: bool = True, repeated: Sequence[str] = ()) -> str:
        """Return what a prompt lists, as far as there is any and there is room; empty if there is nothing.

        Args:
            base_ids: Ids of the program that the prompt is to improve, and of the one that it came from.
            lists_ideas: Whether tried ideas are listed, beside errors.
            repeated: Ideas of the latest answers that were programs judged before; they are listed in any case.
        """
        always = [
            ("The last answers repeated earlier programs; do not repeat these:", _distinct(repeated)),
            ("Errors with which earlier answers crashed or were refused; avoid them:", [*reversed(self._errors)]),
        ]
        if not lists_ideas:
            return _within_limit(always, self._chars)
        known = _within_limit(always, self._chars // 2)
        near = [one for one in reversed(self._latest) if one.base_id in base_ids and one.gain <= 0.0]
        latest = {_plain(one.idea): one.outcome for one in reversed(near)}
        listed = _distinct(repeated)
        of_base = [f"{idea} ({latest[idea]})" for idea in _distinct(one.idea for one in near) if idea not in listed]
        counts = Counter(_plain(one.idea) for one in self._latest)
        frequent = [idea for idea, count in counts.most_common(_FREQUENT) if count >= _OFTEN]
        ideas = [
            ("Tried already on this version or the one before it; do not repeat these:", of_base[:_OF_BASE]),
            ("Ideas that raised the best score of this search most:", _distinct(one.idea for one in self._best)),
            ("Tried already many times in this search:", frequent),
        ]
        room = self._chars - len(known) - 2 * bool(known)
        return "\n\n".join(filter(None, (known, _within_limit(ideas, room, listed=listed))))


def _within_limit(groups: Sequence[tuple[str, Sequence[str]]], chars: int, listed: Iterable[str] = ()) -> str:
    """Return groups of items below their headings, as many as there is room for; each once, and none that is listed."""
    lines: list[str] = []
    listed = set(listed)
    for heading, items in groups:
        new = [item for item in items if item not in listed]
        while new and sum(map(len, new)) + 3 * len(new) + len(heading) + 2 > chars:
            new.pop()
        if new:
            block = [heading, *(f"- {item}" for item in new), ""]
            lines += block
            listed.update(new)
            chars -= len("\n".join(block)) + 1
    return "\n".join(lines).strip()


def _distinct(ideas: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(_plain, ideas)))


def _last_line(error: str) -> str:
    """Return the line of an error that says what it is."""
    lines = [line for line in error.splitlines() if line.strip()]
    line = " ".join(lines[-1].split()) if lines else ""
    return line if len(line) <= _MAX_ERROR_CHARS else f"{line[: _MAX_ERROR_CHARS - 1]}…"


def _plain(idea: str) -> str:
    """Return an idea on one line, whole, without names of versions."""
    return _VERSION.sub("the version", " ".join(idea.split()))
