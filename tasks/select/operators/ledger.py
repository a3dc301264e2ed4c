"""The ledger of tried ideas and errors: what a prompt tells of earlier answers; no model is asked for it."""

from __future__ import annotations

import re
import textwrap
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from overnight.schemas.scores import are_level, score_text

_MAX_ERROR_CHARS = 160
_VERSION = re.compile(r"`?\b\w+_v\d+\b`?")
"""Name of a version, which is another program in another prompt."""

_REMEMBERED = 200
"""Judged ideas that are remembered, beside those that raised the best score."""

_LATEST, _LARGEST = 3, 3
"""Ideas that raised the best score which are listed: the latest, and those that raised it most."""

_OF_BASE = 40
"""Latest ideas on the base that are listed."""

_WHOLE, _SHORTENED = 4, 140
"""The latest of them that are listed whole, and the characters of each of the others."""

_ELSEWHERE = 12
"""Latest ideas on other programs that are listed, shortened, where there is room left."""

_AT_BEST = 6
"""Different tries with exactly the best score from which on it is said that they all end there."""

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
        program_id: Id of the program that came of it; empty if there is none.
        error: Error with which it failed; empty if it has a score.
        score: Its score; `None` if it has none.
        base_score: Score of the program that it changed; `None` if that has none.
        best_before: Best score of the run before it; `None` if there was none.
        beside: Its values in other objectives, such as `states 98, before 99`; empty if there are none.
        is_better: Whether it is better than its base in the score or in another objective.
        is_untried: Whether its answer could not be read, or its program crashed or was not confirmed, which says
            nothing of the idea.
        is_repeated: Whether its program was judged before.
        is_fresh: Whether it was to be written from scratch, so that it changed no program.
    """

    idea: str
    base_id: str
    program_id: str = ""
    error: str = ""
    score: float | None = None
    base_score: float | None = None
    best_before: float | None = None
    beside: str = ""
    is_better: bool = False
    is_untried: bool = False
    is_repeated: bool = False
    is_fresh: bool = False

    def outcome(self, noise: float) -> str:
        """Return its result in words, beside what it is compared with."""
        if self.error:
            return f"failed: {_last_line(self.error)}"
        if self.score is None:
            return "was judged before" if self.is_repeated else "nothing better was found"
        text = f"scored {score_text(self.score)}"
        if self.base_score is not None:
            scores = score_text(self.score, self.base_score), score_text(self.base_score, self.score)
            other = "that version" if self.is_fresh else "the version that it changed"
            text = f"scored {scores[0]}, {other} {scores[1]}"
            if are_level(self.score, self.base_score, noise):
                text = f"scored {scores[0]}, the same as {other}"
            text = f"from scratch: {text}" if self.is_fresh else text
        return f"{text}; {self.beside}" if self.beside else text

    def raised(self, noise: float) -> float:
        """Return by how much it raised the best score of the run; 0 if it did not."""
        if self.score is None or self.best_before is None or are_level(self.score, self.best_before, noise):
            return 0.0
        return max(0.0, self.score - self.best_before)

    @property
    def rise(self) -> str:
        """Rise of the run's best score by it, in words."""
        assert self.score is not None
        assert self.best_before is not None
        scores = score_text(self.best_before, self.score), score_text(self.score, self.best_before)
        return f"from {scores[0]} to {scores[1]}" + (f"; {self.beside}" if self.beside else "")


class Ledger:
    """Remembers tried ideas and errors, and lists those that matter for a base."""

    def __init__(self, chars: int, noise: float = 0.0) -> None:
        self._chars = chars
        self._noise = noise
        self._latest: deque[TriedIdea] = deque(maxlen=_REMEMBERED)
        self._raising: list[TriedIdea] = []
        self._errors: dict[str, None] = {}
        self._best: float | None = None
        self._at_best: set[str] = set()

    def add(self, tried: TriedIdea) -> None:
        if error := _last_line(tried.error):
            self._errors.pop(error, None)
            self._errors[error] = None
            if len(self._errors) > _ERRORS:
                del self._errors[next(iter(self._errors))]
        self._note_level(tried)
        if not tried.idea:
            return
        self._latest.append(tried)
        if tried.raised(self._noise):
            self._note_raising(tried)

    def _note_level(self, tried: TriedIdea) -> None:
        """Count the different tries that have the best score, which begin anew where it rises."""
        known = [one for one in (self._best, tried.best_before, tried.base_score) if one is not None]
        before = max(known, default=None)
        if tried.score is None or (before is not None and tried.score < before and not are_level(tried.score, before)):
            return
        if before is None or not are_level(tried.score, before):
            self._at_best = set()
        self._best = tried.score if before is None else max(before, tried.score)
        self._at_best.add(plain(tried.idea) or tried.program_id)

    def _level_text(self) -> str:
        if self._best is None or len(self._at_best) < _AT_BEST:
            return ""
        return (
            f"{len(self._at_best)} different tries ended at exactly {score_text(self._best)}, the best score of this "
            "search: what passes it has to change something that all of them share."
        )

    def _note_raising(self, tried: TriedIdea) -> None:
        """Keep the latest ideas that raised the best score, and those that raised it most, in order."""
        known = [one for one in self._raising if plain(one.idea) != plain(tried.idea)] + [tried]
        largest = sorted(known, key=lambda one: one.raised(self._noise), reverse=True)[:_LARGEST]
        self._raising = [one for one in known if one in largest or one in known[-_LATEST:]]

    def text(
        self,
        base_id: str,
        origin_id: str = "",
        *,
        lists_ideas: bool = True,
        repeated: Sequence[str] = (),
        shown: Collection[str] = (),
        told: str = "",
    ) -> str:
        """Return what a prompt lists, as far as there is any and there is room; empty if there is nothing.

        Args:
            base_id: Id of the program that the prompt is to improve.
            origin_id: Id of the program that it came from; empty if there is none.
            lists_ideas: Whether tried ideas are listed, beside errors.
            repeated: Ideas of the latest answers that were programs judged before; they are listed in any case.
            shown: Ids of the programs that the prompt shows, which are no tries.
            told: Error that the prompt tells already.
        """
        errors = [one for one in reversed(self._errors) if one != _last_line(told)]
        always = [
            ("The last answers repeated earlier programs; do not repeat these:", _distinct(repeated)),
            ("Errors with which earlier answers crashed or were refused; avoid them:", errors),
        ]
        if not lists_ideas:
            return _within_limit(always, self._chars)
        level = self._level_text() if self._chars else ""
        known = "\n\n".join(filter(None, (level, _within_limit(always, self._chars // 2))))
        listed = _distinct(repeated)
        of_base = self._tried_on(base_id, shown, listed)
        of_origin = self._tried_on(origin_id, shown, [*listed, *of_base]) if origin_id else {}
        crashed = [one for one in (*of_base.values(), *of_origin.values()) if one.is_untried]
        counts = Counter(plain(one.idea) for one in self._latest)
        told_ideas = {*listed, *of_base, *of_origin, *(plain(one.idea) for one in self._raising)}
        frequent = [idea for idea, count in counts.most_common(_FREQUENT) if count >= _OFTEN and idea not in told_ideas]
        ideas = [
            ("Tried already on the last version; do not repeat these:", self._results(of_base)),
            (
                "Tried already on the version that the last one came from; do not repeat these:",
                self._results(of_origin),
            ),
            (
                "Failed in a way that says nothing of the idea itself:",
                [self._result(one) for one in crashed[:_OF_BASE]],
            ),
            ("Tried already many times in this search:", frequent),
            (
                "Tried on other programs of this search, without a gain:",
                self._elsewhere({*told_ideas, *frequent}, shown),
            ),
        ]
        raising = (
            "Ideas that raised the best score of this search, the latest first:",
            [f"{plain(one.idea)} ({one.rise})" for one in reversed(self._raising)],
        )
        room = self._chars - len(known) - 2 * bool(known)
        raised = _within_limit([raising], room // 2)
        tried = _within_limit(ideas, room - len(raised) - 2 * bool(raised), listed=listed)
        return "\n\n".join(filter(None, (known, tried, raised)))

    def _tried_on(self, base_id: str, shown: Collection[str], others: Collection[str]) -> dict[str, TriedIdea]:
        """Return, by idea, what did not help on a program, the latest first, without programs that are shown."""
        latest: dict[str, TriedIdea] = {}
        for one in reversed(self._latest):
            idea = plain(one.idea)
            if one.base_id != base_id or idea in others:
                continue
            # What a program did says more than that it was repeated.
            if latest.setdefault(idea, one).is_repeated and not one.is_better:
                latest[idea] = one
        return {idea: one for idea, one in latest.items() if not one.is_better and one.program_id not in shown}

    def _elsewhere(self, told: Collection[str], shown: Collection[str]) -> list[str]:
        """Return what did not help on any program, the latest first, without what is told and what is shown."""
        judged = {plain(one.idea): one for one in self._latest if one.score is not None}
        gained = {plain(one.idea) for one in self._latest if one.is_better}
        kept = [one for idea, one in judged.items() if idea not in told and idea not in gained]
        latest = [one for one in reversed(kept) if one.program_id not in shown][:_ELSEWHERE]
        return [self._result(one, is_whole=False) for one in latest]

    def _results(self, tried: Mapping[str, TriedIdea]) -> list[str]:
        """Return the latest of them as lines: the first whole, the others shortened, so that many can be told."""
        judged = [one for one in tried.values() if not one.is_untried][:_OF_BASE]
        return [self._result(one, is_whole=place < _WHOLE) for place, one in enumerate(judged)]

    def _result(self, tried: TriedIdea, *, is_whole: bool = True) -> str:
        idea = plain(tried.idea)
        idea = idea if is_whole else textwrap.shorten(idea, _SHORTENED, placeholder=" …")
        return f"{idea} ({tried.outcome(self._noise)})"


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
    return list(dict.fromkeys(map(plain, ideas)))


def _last_line(error: str) -> str:
    """Return the line of an error that says what it is."""
    lines = [line for line in error.splitlines() if line.strip()]
    line = " ".join(lines[-1].split()) if lines else ""
    return line if len(line) <= _MAX_ERROR_CHARS else f"{line[: _MAX_ERROR_CHARS - 1]}…"


def plain(idea: str) -> str:
    """Return an idea on one line, whole, without names of versions."""
    return _VERSION.sub("the version", " ".join(idea.split()))
