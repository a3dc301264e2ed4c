"""Tree search: programs are states, and a prompt expands one of them.

By default the state is selected by PUCT, as TTT-Discover does (arXiv 2601.16175); by UCT with progressive widening, as
MCTS-AHD does (arXiv 2501.08603), if the settings say so.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from overnight.schemas.algorithm import Plan, PromptResult, Turn
from overnight.schemas.algorithm_settings import TreeSettings
from overnight.schemas.program import Program
from overnight.tasks.select.pool import NICHE, PoolAlgorithm, shown_with

_LEAST_SCALE = 1e-6
"""Lower limit on the range of scores."""

_CHILDREN = 2
"""Children kept of a prompt, the best."""

_MAX_DEPTH = 10
"""Depth at which UCT goes no further down."""


@dataclass(slots=True, eq=False)
class State:
    """A program in the tree.

    Attributes:
        program: The program; the shortest of those that score the same on every input.
        parent: The state that its prompt expanded; none of the start program.
        expansions: Prompts that expanded it or one of its descendants, whether anything came of them or not.
        best_child: Best score of its direct children; `None` if no child has one.
    """

    program: Program
    parent: State | None = None
    expansions: int = 0
    best_child: float | None = None

    @property
    def score(self) -> float:
        return self.program.score

    def lineage(self) -> Iterator[State]:
        """Yield the state and its ancestors, up to the start program."""
        state: State | None = self
        while state is not None:
            yield state
            state = state.parent

    def is_related(self, other: State) -> bool:
        """Return whether one of the two is the other or an ancestor of it."""
        return any(one is other for one in self.lineage()) or any(one is self for one in other.lineage())

    def count_expansion(self, children: Sequence[Program]) -> None:
        for state in self.lineage():
            state.expansions += 1
        scores = [child.score for child in children]
        if scores:
            self.best_child = max(scores if self.best_child is None else [self.best_child, *scores])


InFlight = Counter[State]
"""Expansions in flight of each state and its descendants: they count as made, and nothing came of them yet."""


class Rule(ABC):
    """A rule by which states are selected, of which the first is the start program.

    Attributes:
        exploration: Weight of states that were rarely expanded.
    """

    exploration: ClassVar[float]

    def __init__(self, states: Sequence[State]) -> None:
        self._states = states

    @abstractmethod
    def select(self, in_flight: InFlight) -> State:
        """Return the state to be expanded."""

    @abstractmethod
    def ranked(self, in_flight: InFlight) -> list[State]:
        """Return the state to be expanded, then the others in the order in which a prompt may show them."""


class PUCT(Rule):
    """Compare all states by Q + c · scale · P · √(1 + T) / (1 + n).

    Q is the best score of a state's direct children, or its own score where it has none; P falls linearly with its
    rank by score; T are all expansions and n those of the state and its descendants; scale is the range of the scores
    of all states but the start program.
    """

    exploration = 1.0

    def __init__(self, states: Sequence[State]) -> None:
        super().__init__(states)
        scores = [state.score for state in states[1:]] or [states[0].score]
        scale = max(max(scores) - min(scores), _LEAST_SCALE)
        by_score = sorted(states, key=lambda state: state.score, reverse=True)
        count = len(states)
        weight = self.exploration * scale / (count * (count + 1) / 2)
        self._bonus = {state: weight * (count - rank) for rank, state in enumerate(by_score)}

    def select(self, in_flight: InFlight) -> State:
        """Return the state with the highest value; of equals the one with the best score, then the oldest."""
        return max(self._states, key=self._key(in_flight))

    def ranked(self, in_flight: InFlight) -> list[State]:
        return sorted(self._states, key=self._key(in_flight), reverse=True)

    def _key(self, in_flight: InFlight) -> Callable[[State], tuple[float, float]]:
        root = self._states[0]
        total = math.sqrt(1 + _expansions(root, in_flight))

        def key(state: State) -> tuple[float, float]:
            quality = state.score if state.best_child is None else state.best_child
            return quality + self._bonus[state] * total / (1 + _expansions(state, in_flight)), state.score

        return key


class UCT(Rule):
    """Go down from the start program to the child with the highest (Q − q) / (Q' − q) + λ · √(ln(N + 1) / n).

    Q is a state's own score, or the highest Q of its children where it has any; q and Q' are the lowest and the highest
    Q of all states. n are the visits of the child and N those of its parent: 1, and 1 for each expansion at or below
    it. A state without children is expanded, and so is one with fewer children than ⌊√N⌋, or at the greatest depth.
    """

    exploration = 0.1

    def __init__(self, states: Sequence[State]) -> None:
        super().__init__(states)
        self._children = _living_children(states)
        self._quality = {state: state.score for state in states}
        for state in reversed(states):  # children come after their parents
            if children := self._children[state]:
                self._quality[state] = max(self._quality[child] for child in children)
        self._lowest, self._highest = min(self._quality.values()), max(self._quality.values())

    def select(self, in_flight: InFlight) -> State:
        state = self._states[0]
        for _ in range(_MAX_DEPTH):
            children, visits = self._children[state], 1 + _expansions(state, in_flight)
            if not children or math.isqrt(visits) > len(children):
                break
            state = max(children, key=lambda child: self.value(child, visits, in_flight))
        return state

    def ranked(self, in_flight: InFlight) -> list[State]:
        """Return the selected state, then the others by score."""
        selected = self.select(in_flight)
        others = sorted(self._states, key=lambda state: state.score, reverse=True)
        return [selected, *(state for state in others if state is not selected)]

    def value(self, child: State, visits: int, in_flight: InFlight) -> float:
        spread = self._highest / 2 - self._lowest / 2  # halves, since a difference of the largest floats overflows
        quality = (self._quality[child] / 2 - self._lowest / 2) / spread if spread else 0.0
        own = 1 + _expansions(child, in_flight)
        return quality + self.exploration * math.sqrt(math.log(visits + 1) / own)


def _expansions(state: State, in_flight: InFlight) -> int:
    """Return the expansions of a state and its descendants, made or in flight."""
    return state.expansions + in_flight[state]


def _living_children(states: Sequence[State]) -> dict[State, list[State]]:
    """Return the children of each state; those of a dropped one belong to its nearest ancestor that is left."""
    children: dict[State, list[State]] = {state: [] for state in states}
    for state in states[1:]:
        parent = next(one for one in state.lineage() if one is not state and one in children)
        children[parent].append(state)
    return children


class Tree(PoolAlgorithm[TreeSettings]):
    """A tree of states, which are the start program and the best children of each prompt.

    Every program that is registered has its place in the tree, but only states are shown. Programs that score the same
    on every input share a state, which shows the shortest of them: as states of their own, variants that change nothing
    would take most of the prompts. A program that was registered without a prompt, since the search began with it, is a
    child of the start program.
    """

    records_expansions = True

    def __init__(self, settings: TreeSettings, start: Program, seed: int) -> None:
        super().__init__(settings, start, seed)
        self._root = State(start)
        self._all = {start.id: self._root}
        self._states = [self._root]

    def ask(self, turn: Turn) -> Plan:
        """Plan a prompt that expands one state and shows the next best of other lineages.

        Before the selection, as many others as are in flight are made, each of which counts as an expansion whose
        result is not known.
        """
        rule, in_flight = self._rule(), InFlight()
        for _ in range(turn.slot):
            in_flight.update(rule.select(in_flight).lineage())
        base, *others = rule.ranked(in_flight)
        return Plan(NICHE, shown_with(base.program, self._unrelated(base, others), self._settings.parents))

    def _rule(self) -> Rule:
        return (PUCT if self._settings.variant == "puct" else UCT)(self._states)

    def _unrelated(self, base: State, others: Sequence[State]) -> Iterable[Program]:
        """Return programs that may be shown with a base: each of another lineage than it and those before."""
        chosen = [base]
        for state in others:
            is_wanted = state.score <= base.score and all(state.program.scores != one.program.scores for one in chosen)
            if is_wanted and not any(state.is_related(one) for one in chosen):
                chosen.append(state)
                yield state.program

    def _learn(self, result: PromptResult) -> None:
        super()._learn(result)
        parent = self._all.get(result.base_id, self._root)
        if result.samples:
            parent.count_expansion(result.children)
        children = self._new_states(result.children, parent)
        if result.samples:
            best = set(_best(children, _CHILDREN))
            children = [child for child in children if child in best]
        self._states += children
        self._drop_worst()

    def _new_states(self, programs: Sequence[Program], parent: State) -> list[State]:
        """Give each program a place in the tree, and return the states that are new."""
        by_scores, new = {state.program.scores: state for state in self._states}, list[State]()
        for program in programs:
            if (state := by_scores.get(program.scores)) is None:
                state = by_scores[program.scores] = State(program, parent)
                new.append(state)
            elif len(program.body) < len(state.program.body):
                state.program = program
            self._all[program.id] = state
        return new

    def _drop_worst(self) -> None:
        """Drop the worst states where there are too many; the start program stays, and of equals the newer."""
        limit = self._settings.states
        if len(self._states) > limit:
            best = set(_best(self._states[:0:-1], limit - 1))
            self._states = [self._root, *(state for state in self._states[1:] if state in best)]


create = Tree


def _best(states: Sequence[State], count: int) -> list[State]:
    """Return the best states, the first of equals."""
    return sorted(states, key=lambda state: state.score, reverse=True)[:count]
