"""The ledger of tried ideas and errors: what a prompt tells of earlier answers; no model is asked for it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MAX_IDEA_CHARS = 160
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
    """

    idea: str
    base_id: str
    gain: float
    error: str = ""


class Ledger:
    """Remembers tried ideas and errors, and lists those that matter for a base."""

    def __init__(self, chars: int) -> None:
        self._chars = chars
        self._latest: deque[TriedIdea] = deque(maxlen=_REMEMBERED)
        self._best: list[TriedIdea] = []
        self._errors: dict[str, None] = {}

    def add(self, tried: TriedIdea) -> None:
        """Remember an idea and its error."""
        if error := _last_line(tried.error):
            self._errors.pop(error, None)
            self._errors[error] = None
            if len(self._errors) > _ERRORS:
                del self._errors[next(iter(self._errors))]
        if not tried.idea:
            return
        self._latest.append(tried)
        if tried.gain > 0.0:
            self._best = sorted([*self._best, tried], key=lambda one: one.gain, reverse=True)[:_GAINS]

    def text(self, base_id: str, *, lists_ideas: bool = True, repeated: Sequence[str] = ()) -> str:
        """Return what a prompt lists, as far as there is any and there is room; empty if there is nothing.

        Args:
            base_id: Id of the program that the prompt is to improve.
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
        of_base = [one.idea for one in reversed(self._latest) if one.base_id == base_id and one.gain <= 0.0]
        ideas = [
            ("Tried already on this version without success; do not repeat these:", _distinct(of_base)[:_OF_BASE]),
            ("Ideas of this search that raised the score most:", _distinct(one.idea for one in self._best)),
            ("Tried already many times in this search:", self._frequent()),
        ]
        room = self._chars - len(known) - 2 * bool(known)
        return "\n\n".join(filter(None, (known, _within_limit(ideas, room, listed=_distinct(repeated)))))

    def _frequent(self) -> list[str]:
        counts = Counter(_shortened(one.idea) for one in self._latest)
        return [idea for idea, count in counts.most_common(_FREQUENT) if count >= _OFTEN]


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
    return list(dict.fromkeys(map(_shortened, ideas)))


def _last_line(error: str) -> str:
    """Return the line of an error that says what it is."""
    lines = [line for line in error.splitlines() if line.strip()]
    return _shortened(lines[-1]) if lines else ""


def _shortened(idea: str) -> str:
    idea = " ".join(idea.split())
    return idea if len(idea) <= _MAX_IDEA_CHARS else f"{idea[: _MAX_IDEA_CHARS - 1]}…"
