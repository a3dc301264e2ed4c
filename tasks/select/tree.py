"""Tree search: programs are states, and a prompt expands one of them.

By default the state is selected by PUCT, as TTT-Discover does (arXiv 2601.16175); by UCT with progressive widening, as
MCTS-AHD does (arXiv 2501.08603), if the settings say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.algorithm import Plan, PromptResult, Turn
from schemas.algorithm_settings import TreeSettings
from schemas.program import Program
from tasks.select.pool import NICHE, OnePoolAlgorithm, shown_with
from tasks.select.tree_selection import PUCT, UCT, Losses, Rule, State


class Tree(OnePoolAlgorithm[TreeSettings]):
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
        rule, losses = self._rule(), Losses()
        for _ in range(turn.slot):
            losses.add(rule.select(losses))
        base, *others = rule.ranked(losses)
        return Plan(NICHE, shown_with(base.program, self._unrelated(base, others), self._settings.parents))

    def _rule(self) -> Rule:
        settings, kind = self._settings, PUCT if self._settings.variant == "puct" else UCT
        return kind(self._states, settings.exploration)

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
            best = set(_best(children, self._settings.children))
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
"""Make the algorithm from its settings, the start program and the seed of the run."""


def _best(states: Sequence[State], count: int) -> list[State]:
    """Return the best states, the first of equals."""
    return sorted(states, key=lambda state: state.score, reverse=True)[:count]
