"""Requests of people while a search runs: prompts that carry a hint, and the history without a dropped program.

Each request takes effect at a place of the run's own order that is recorded before it does: a hint or a pin from a
prompt on that is not planned yet, a drop after a generation. So resume and replay repeat it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from overnight.schemas.algorithm import Change, Correct, Expand, Join, Reset, Turn
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.generation import RunHistory, Step
from overnight.schemas.interventions import DROPPED, Intervention, Kind
from overnight.schemas.operators import PROMPTS_PER_HINT
from overnight.schemas.outcome import Outcome


class Hints:
    """The prompts that ask for what people said: one of `PROMPTS_PER_HINT`, while a hint or a pin is in force."""

    def __init__(self, given: Iterable[Intervention] = ()) -> None:
        self._given = [one for one in given if one.kind is not Kind.DROP]
        self._asked: Counter[str] = Counter()
        self._others = 0

    def add(self, given: Iterable[Intervention]) -> None:
        """Take what is in force from a prompt on that is not planned yet."""
        self._given += given

    def take(self, turn: Turn, is_known: Callable[[str], bool] = lambda _: True) -> Intervention | None:
        """Return what a prompt asks for; called once for each prompt, in order.

        A program that is pinned and not known, such as one that was dropped since, takes no turn.
        """
        self._others = max(0, self._others - 1)
        in_force = [] if self._others else self._in_force(turn)
        in_force = [one for one in in_force if not one.program_id or is_known(one.program_id)]
        if not in_force:
            return None
        chosen = min(reversed(in_force), key=lambda one: self._asked[one.id])  # of equals the latest
        self._asked[chosen.id] += 1
        self._others = PROMPTS_PER_HINT
        return chosen

    def _in_force(self, turn: Turn) -> list[Intervention]:
        begun = [one for one in self._given if one.begins <= (turn.generation, turn.index)]
        ends = [place for place, one in enumerate(begun) if one.kind is Kind.WITHDRAWAL]
        since = begun[ends[-1] + 1 :] if ends else begun
        return [one for one in since if one.prompts is None or self._asked[one.id] < one.prompts]


def without(history: RunHistory, dropped: set[str], place: int, windows: int) -> RunHistory:
    """Return the first steps and windows of a history as if some of its programs had failed when they were told.

    Children of a program that is left out count as its base's.
    """
    steps, bases = history.steps[:place], bases_of(history, dropped)
    return replace(
        history,
        programs={name: program for name, program in history.told.items() if name not in dropped},
        steps=tuple(_step_without(step, bases) for step in steps),
        windows=history.windows[:windows],
        claimed={name: scores for name, scores in history.claimed.items() if name not in dropped},
        interventions=tuple(one for one in history.interventions if one.kind is not Kind.DROP),
        dropped={},
    )


def bases_of(history: RunHistory, dropped: set[str]) -> dict[str, str]:
    """Return the program that takes the place of each that is dropped: the nearest of its bases that is left."""
    parents = {one.program_id: one.parent_id for one in _answers(history.steps) if one.program_id in dropped}
    left = history.told.keys() - dropped
    bases = {}
    for name in dropped:
        base = name
        for _ in dropped:  # no more often, since the files of others may name a circle
            base = parents.get(base, history.start.id) if base in dropped else base
        bases[name] = base if base in left else history.start.id
    return bases


def descendants_of(history: RunHistory, program_id: str) -> list[str]:
    """Return the scored programs that were built on a program, or on another that was, in order."""
    family = {program_id: None}
    for answer in _answers(history.steps):
        if answer.parent_id in family and answer.program_id in history.programs:
            family[answer.program_id] = None
    return [name for name in family if name != program_id]


def dropped_with(history: RunHistory, program_id: str, *, with_descendants: bool) -> list[str]:
    """Return the programs that are dropped with one: what was left of it when it was pruned, or all built on it."""
    family = [program_id, *(descendants_of(history, program_id) if with_descendants else ())]
    left = [one.id for one in history.programs.values() if one.pruned_from in family]
    return list(dict.fromkeys([*family[1:], *left]))


def _answers(steps: Sequence[Step]) -> Iterable[Feedback]:
    return (answer for step in steps for index in sorted(step.records) for answer in step.records[index].answers)


def changes_without(changes: Iterable[Change], bases: Mapping[str, str]) -> tuple[Change, ...]:
    """Return changes as if programs had failed, with what takes the place of each: `bases`."""
    left = []
    for change in changes:
        match change:
            case Join(_, name) | Correct(_, name) if name in bases:
                continue
            case Expand(_, name) if name in bases:
                left.append(replace(change, program_id=bases[name]))
            case Reset(_, name) if name in bases:
                left.append(replace(change, founder_id=bases[name]))
            case _:
                left.append(change)
    return tuple(left)


def _step_without(step: Step, bases: Mapping[str, str]) -> Step:
    return replace(
        step,
        changes={index: changes_without(changes, bases) for index, changes in step.changes.items()},
        records={index: _record_without(record, bases) for index, record in step.records.items()},
        confirmations={
            index: [one for one in found if one[0] not in bases] for index, found in step.confirmations.items()
        },
        corrected={name: answer for name, answer in step.corrected.items() if name not in bases},
    )


def _record_without(record: PromptRecord, bases: Mapping[str, str]) -> PromptRecord:
    return replace(record, answers=tuple(_failed(one) if one.program_id in bases else one for one in record.answers))


def _failed(answer: Feedback) -> Feedback:
    return replace(answer, outcome=Outcome.UNCONFIRMED, error=DROPPED, scores=(), score=None)
