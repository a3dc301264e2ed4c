"""Sessions of agents beside prompts: each is a generation of its own, for which no other waits.

In the order of generations it has its place without an answer: it is put off, and the night goes on. It is told and
committed after those that are there by then, once its agent has answered. A night that was killed meanwhile goes on
with it when it is resumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from overnight.flows.night.attempts import Attempt
from overnight.flows.night.search_state import SearchState
from overnight.schemas.generation import StopReason


class SessionsBeside:
    """The sessions of one night.

    Args:
        state: The state of the search.
        most: Models of agents, each with the number of sessions that may be under way; empty where all are of agents.

    Attributes:
        ended: Numbers of sessions that ended in this night without an answer, which go on in the next one.
    """

    def __init__(self, state: SearchState, most: Sequence[tuple[str, int]]) -> None:
        self.ended: set[int] = set()
        self._state = state
        self._most = most

    def want(self) -> None:
        """Let the generations that are planned next be sessions, as many as agents have nothing to do."""
        planner, state = self._state.planner, self._state
        if not self._most or not planner.may_begin_session(state.asked):
            return
        under_way = [one for one in planner.sessions if one > state.generations or one in state.put_off]
        taken = Counter([*(planner.sessions[one] for one in under_way), *planner.wanted])
        for model, most in self._most:
            planner.wanted.extend([model] * (most - taken[model]))

    def is_due(self, number: int) -> bool:
        """Return whether a generation whose turn it is is a session, which is put off."""
        return number in self._state.planner.sessions and self._state.is_in_order(number)

    def to_go_on(self, attempts: Iterable[Attempt]) -> list[int]:
        """Return the numbers of sessions that were put off and have no attempt: those of a night before, first."""
        under_way = {attempt.number for attempt in attempts}
        return sorted(self._state.put_off - under_way - self.ended)

    def answered(self, attempts: Iterable[Attempt]) -> int | None:
        """Return the number of the first session that was put off whose agent has answered; `None` if none has.

        None has its turn before generations of which an earlier attempt has asked prompts: these do not know of it.
        """
        if self._is_too_early:
            return None
        found = (one.number for one in self._put_off(attempts) if one.error or (one.block and one.block.is_answered))
        return next(found, None)

    def are_awaited(self, attempts: Iterable[Attempt], reason: StopReason) -> bool:
        """Return whether a night that stops for a reason waits for agents first, which are paid for."""
        if self._is_too_early:
            return False  # the generations that come first are left to a later night
        asked = any(one.block is not None and one.block.is_asked for one in self._put_off(attempts))
        return asked and reason not in (StopReason.TARGET, StopReason.FAILED)

    def samples(self, attempts: Iterable[Attempt], number: int) -> int:
        """Return how many samples the sessions that are put off may bring yet, but for that of a number."""
        blocks = {one.number: one.block for one in self._put_off(attempts)}
        most = self._state.run.problem.settings.candidates_per_prompt
        others = self._state.put_off - self.ended - {number}
        return sum(block.taken if (block := blocks.get(one)) and block.is_asked else most for one in others)

    @property
    def _is_too_early(self) -> bool:
        return self._state.generations < self._state.asked_before

    def _put_off(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        return [one for one in attempts if one.number in self._state.put_off]
