"""Order in which prompts are planned and the algorithm is told of results.

Prompts have serial numbers over the whole search: generation after generation, in the order of their indices. A
generation that ended early has fewer prompts, which is recorded, so that the numbers of those after it follow. An
algorithm is told of results in this order, prompt by prompt, and asked for a plan as soon as it has been told of all
results that the plan may see. So a plan depends on the order of prompts alone, never on which answer arrived first.
A score that is still to be confirmed is told as well; a confirmation that changes it counts at a fixed later place.
"""

from __future__ import annotations

import copy
from collections import ChainMap, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from overnight.flows.night.interventions import Hints
from overnight.flows.night.told_prompts import Told
from overnight.flows.night.turns import prompts_in_flight, pruning_index, results_needed, turns_of
from overnight.schemas.algorithm import Algorithm, Change, Correct, Join, Plan, PromptResult, Turn
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.generation import RunHistory, RunRecord, Step, flat
from overnight.schemas.interventions import Intervention
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Program, program_of
from overnight.schemas.scores import reduced
from overnight.tasks.select.operators.composer import Composer

_MAX_UNFOLLOWED = 64
"""Latest prompts that are kept for the plans that follow them."""

WARY_CLAIMS = 8
"""Claims that must stand, after one has fallen, before a claim is believed again until it is confirmed."""


class Planner:
    """Tells an algorithm of results in order, and asks it for each plan when it is due.

    Args:
        algorithm: The algorithm, with nothing in it but the programs that the search began with.
        composer: Completes the algorithm's plans; it is told of the same results.
        is_wanted: Returns whether the plans of a generation are wanted.
        given: Requests of people so far, in order.
        lengths: Numbers of prompts of the generations that ended early, by generation.
        sessions: Models of agents by the number of the generation that is a session of theirs: one prompt.
        widest: Most prompts that any night so far had in flight.

    Attributes:
        window: Number of prompts in flight.
        plans: Plans of the turns that are due; `None` for a turn of the tuner that passes.
        wary: Number of claims that must stand before one is believed again until it is confirmed.
        bases: For each program that was dropped, the program that takes its place as a base.
        barred: Dropped programs on which nothing may be built that counts.
        sessions: Models of agents by generation, as above, and of those that are planned since.
        wanted: Models of agents whose sessions begin with the next generations that are planned.
    """

    def __init__(
        self,
        run: RunRecord,
        algorithm: Algorithm,
        composer: Composer,
        is_wanted: Callable[[int], bool],
        given: Sequence[Intervention] = (),
        lengths: Mapping[int, int] = MappingProxyType({}),
        sessions: Mapping[int, str] = MappingProxyType({}),
        widest: int = 1,
    ) -> None:
        self.algorithm = algorithm
        self.window = 1
        self.plans: dict[Turn, Plan | None] = {}
        self.wary = 0
        self.bases: Mapping[str, str] = {}
        self.barred: Collection[str] = ()
        self.sessions = dict(sessions)
        self.wanted: deque[str] = deque()
        self._hints = Hints(given)
        self._composer = composer
        self._run = run
        self._is_wanted = is_wanted
        self._widest = widest
        self._results = 0
        most = run.problem.settings.search.prompts  # a file of strangers may have any number
        self._lengths = {number: prompts for number, prompts in lengths.items() if 0 < prompts < most}
        self._next = 0
        self._next_turn = Turn(1 + run.given, 0)
        self._last_tuned = -1
        self._latest: deque[tuple[int, Turn, Plan]] = deque()
        self._unfollowed: deque[PromptRecord] = deque(maxlen=_MAX_UNFOLLOWED)
        self._begun = 0
        self._away: dict[int, tuple[Turn, Plan]] = {}
        self._told: list[Told] = []

    def widen(self, window: int) -> None:
        """Begin a night with so many prompts in flight; prompts that were planned before keep their plans."""
        self.window = window
        self._widest = max(self._widest, window)
        self._plan_what_is_due()

    def narrow(self, samples: int | None) -> None:
        """Go on with so many samples in flight, if a number is given and fewer are; what is planned keeps its plan."""
        if samples is not None:
            self.window = min(self.window, prompts_in_flight(self._run, samples))

    @property
    def next_turn(self) -> Turn:
        """The first prompt that is not planned yet."""
        return self._next_turn

    def prompts_of(self, generation: int) -> int:
        """Return the number of prompts of a generation, without the tuner's turn."""
        return self._lengths.get(generation, self._run.problem.settings.search.prompts)

    def prompts_until(self, generation: int) -> int:
        """Return the number of prompts of the generations from 1 to one."""
        most = self._run.problem.settings.search.prompts
        return generation * most - sum(most - own for number, own in self._lengths.items() if number <= generation)

    def turn_after(self, index: int, generation: int) -> int:
        """Return the index of the turn after one in a generation; beyond the last, the number of turns of all."""
        following = index + 1
        return self._run.problem.settings.search.prompts if following == self.prompts_of(generation) else following

    def may_begin_session(self, asked: Mapping[int, int]) -> bool:
        """Return whether the generation that is planned next may be a session: if no earlier attempt `asked` it."""
        place = self._next_turn
        return max(asked, default=0) < place.generation + (place.index > 0)

    def begin(self, generation: int) -> str:
        """Begin a generation; return the model of the agent whose session it is, empty if it is none."""
        if self._next_turn == Turn(generation, 0):
            self._take_wanted(generation)
        self._begun = max(self._begun, generation)
        return self.sessions.get(generation, "")

    def _take_wanted(self, generation: int) -> None:
        """Let a generation of which nothing is planned be a session of the agent that is wanted first, if any is."""
        is_new = generation > self._begun and generation not in self._lengths and generation not in self.sessions
        if self.wanted and is_new:
            self.sessions[generation] = self.wanted.popleft()
            self._lengths[generation] = 1

    def end_early(self, generation: int, asked: Mapping[int, int]) -> int | None:
        """End a generation with the prompts that are planned, and return their number.

        Return `None` where it goes on: if all are planned; if it has ended early before; or if an earlier attempt
        `asked` more prompts of it, by generation, or of a later one, when this one had all its prompts.
        """
        place = self._next_turn
        is_under_way = place.generation == generation and place.index < self.prompts_of(generation)
        least = max(1, asked.get(generation, 0))
        if not is_under_way or place.index < least or generation in self._lengths or max(asked, default=0) > generation:
            return None
        self._lengths[generation] = place.index
        self._next_turn = self._following(Turn(generation, place.index - 1))
        return place.index

    def _following(self, turn: Turn) -> Turn:
        index = self.turn_after(turn.index, turn.generation)
        return Turn(turn.generation, index) if index < turns_of(self._run) else Turn(turn.generation + 1, 0)

    def suggest(self, given: Sequence[Intervention]) -> None:
        """Take hints, pins and withdrawals that begin with a prompt which is not planned yet."""
        self._hints.add(given)

    def gain_of(self, answer: Feedback) -> float | None:
        """Return what an answer gained on its base; `None` where nothing is chosen by gains."""
        return self._composer.gain_of(answer)

    def tell(
        self,
        turn: Turn,
        results: Sequence[PromptResult],
        record: PromptRecord | None,
        *,
        reset: bool = False,
        claims: bool = False,
    ) -> tuple[Change, ...]:
        """Tell the algorithm of the results of the next prompt in order, and return what changed.

        Args:
            turn: The prompt.
            results: Its result; none if it has no candidate.
            record: How it was asked and answered; `None` if it has no candidate.
            reset: Whether a periodic reset is due after it.
            claims: Whether scores among them are claims, which may be corrected.
        """
        before = self._copy() if claims else None
        changes = tuple(self.algorithm.tell(turn.generation, self._rebased(results), reset=reset))
        programs = {child.id: child for result in results for child in result.children}
        self._told.append(Told(changes, programs, record, before))
        self._learn(record)
        self._count()
        return changes

    def home_of(self, program_id: str) -> str:
        """Return the first niche that a program lives in, or else the first of all."""
        niches = self.algorithm.niches
        homes = (name for name, niche in niches.items() if any(one.id == program_id for one in niche.programs))
        return next(homes, next(iter(niches)))

    def tell_pruned(self, generation: int, niche: str, program: Program) -> tuple[Change, ...]:
        """Tell the algorithm of a program that was pruned, after all results of a generation."""
        result = PromptResult(niche=niche, base_id=program.pruned_from, samples=1, children=(program,))
        changes = tuple(self.algorithm.tell(generation, self._rebased([result]), reset=False))
        if any(isinstance(one, Join) for one in changes):
            self._composer.add({program.id: program})
        return changes

    def tell_out_of_order(
        self, generation: int, results: Sequence[PromptResult], record: PromptRecord | None
    ) -> tuple[Change, ...]:
        """Tell the algorithm of results of a generation that was given up or put off, whose place was counted then."""
        changes = self.algorithm.tell(generation, self._rebased(results), reset=False)
        self._away.pop(generation, None)
        self._learn(record)
        return tuple(changes)

    def _rebased(self, results: Sequence[PromptResult]) -> list[PromptResult]:
        """Return results of prompts with what takes the place of their bases, if these were dropped meanwhile."""
        return [replace(one, base_id=self.bases.get(one.base_id, one.base_id)) for one in results]

    def correct(self, corrected: Mapping[str, tuple[Program | None, Feedback]]) -> None:
        """Take claims back that fell or have lower scores than was told, with all that they won since.

        The algorithm is as it would be, had their final scores been told, except for programs that it dropped
        meanwhile and for children of a program that fell, which count as its base's.
        """
        programs = {name: program for name, (program, _) in corrected.items()}
        answers = {name: feedback for name, (_, feedback) in corrected.items()}
        bases = {name: answers[name].parent_id for name, program in programs.items() if program is None}
        first = next(place for place, told in enumerate(self._told) if told.names(corrected))
        first = next(place for place in range(first, -1, -1) if self._told[place].before is not None)
        again, self._told = self._told[first:], self._told[:first]
        assert again[0].before is not None
        self.algorithm, self._composer = copy.deepcopy(again[0].before)
        for told in again:
            self._tell_again(told, told.corrected(programs, answers, bases))
        if any(answer.outcome is Outcome.UNCONFIRMED for answer in answers.values()):
            self.wary = WARY_CLAIMS

    def _tell_again(self, before: Told, told: Told) -> None:
        if told.before is not None:
            told = replace(told, before=self._copy())
        self._told.append(told)
        self.algorithm.replay(told.changes, told.programs)
        if told.record:
            self._composer.tell(told.record)
        records = [told.record if one is before.record and told.record else one for one in self._unfollowed]
        self._unfollowed = deque(records, maxlen=_MAX_UNFOLLOWED)

    def note_confirmations(self, *, stood: int, fell: int) -> None:
        """Count claims of a prompt that were confirmed before it was told."""
        self.wary = WARY_CLAIMS if fell else max(0, self.wary - stood)

    def close(self) -> None:
        """Note that a generation has ended, all of whose claims are confirmed."""
        self._told.clear()

    def replay(self, step: Step, history: RunHistory) -> None:
        """Repeat a generation of the history; one that failed counts as having no results."""
        index = 0
        while index < turns_of(self._run):
            self._repeat_corrections(step, index, history)
            self._replay_turn(step, index, history)
            self._count()
            index = self.turn_after(index, step.generation)
        self._repeat_corrections(step, turns_of(self._run), history)
        self.close()
        self._repeat_pruning(step, history.told)

    def _repeat_pruning(self, step: Step, programs: Mapping[str, Program]) -> None:
        changes = step.changes.get(pruning_index(self._run), ())
        self.algorithm.replay(changes, programs)
        self._composer.add({one.program_id: programs[one.program_id] for one in changes if isinstance(one, Join)})

    def _replay_turn(self, step: Step, index: int, history: RunHistory) -> None:
        changes = tuple(one for one in step.changes.get(index, ()) if not isinstance(one, Correct))
        joined = {one.program_id for one in changes if isinstance(one, Join)}
        record = step.records.get(index)
        answers = {one.program_id: self._as_told(one, history) for one in record.answers} if record else {}
        told = {name: program_of(answers[name]) if name in answers else history.told[name] for name in joined}
        if record:
            record = replace(record, answers=tuple(answers.values()))
        before = self._copy() if joined & step.corrected.keys() else None
        self._told.append(Told(changes, told, record, before))
        self.algorithm.replay(changes, ChainMap(told, history.told))
        self._learn(record)
        stood = [stands for name, stands in step.confirmations.get(index, ()) if name not in step.corrected]
        self.note_confirmations(stood=sum(stood), fell=len(stood) - sum(stood))

    def _as_told(self, answer: Feedback, history: RunHistory) -> Feedback:
        """Return feedback as it was told, before the claim of its program was corrected."""
        scores = history.claimed.get(answer.program_id)
        if scores is None:
            return answer
        score = reduced(scores, self._run.problem.settings.reducer)
        return replace(answer, outcome=Outcome.SCORED, error="", scores=scores, score=score)

    def _repeat_corrections(self, step: Step, index: int, history: RunHistory) -> None:
        for change in step.changes.get(index, ()):
            if isinstance(change, Correct):
                program = None if change.is_removed else history.told[change.program_id]
                self.correct({change.program_id: (program, step.corrected[change.program_id])})

    def replay_out_of_order(self, step: Step, programs: Mapping[str, Program]) -> None:
        """Repeat a generation that was committed after later ones; its place in the order was counted then."""
        last = pruning_index(self._run)
        self._away.pop(step.generation, None)
        self.algorithm.replay(flat({index: own for index, own in step.changes.items() if index != last}), programs)
        for index in sorted(step.records.keys() - {last}):
            self._learn(step.records[index])
        self._repeat_pruning(step, programs)

    def forget(self, generation: int) -> None:
        self.plans = {turn: plan for turn, plan in self.plans.items() if turn.generation != generation}

    def _copy(self) -> tuple[Algorithm, Composer]:
        return copy.deepcopy((self.algorithm, self._composer))

    def _learn(self, record: PromptRecord | None) -> None:
        if record:
            self._composer.tell(record)
            if record.operator != Operator.TUNE:
                self._unfollowed.append(record)

    def _count(self) -> None:
        self._results += 1
        self._plan_what_is_due()

    def _plan_what_is_due(self) -> None:
        first = self._next
        while results_needed(self._next, self._run, self.window) <= self._results:
            turn = replace(self._next_turn, slot=self._slot())
            if turn.index == 0:
                self._take_wanted(turn.generation)
            agent = self.sessions.get(turn.generation, "")
            is_tuning = turn.index == self._run.problem.settings.search.prompts
            tunes = is_tuning and not agent and self._takes_tuners_turn()
            hint = None if is_tuning or agent else self._hints.take(turn, self._composer.knows)
            follows = self._unfollowed and not (is_tuning or hint or agent)
            followed = self._unfollowed.pop() if follows else None  # for unwanted plans, too, as the night did
            place = self._next - first
            if self._is_wanted(turn.generation):
                tuning = self._composer.tuning(self.algorithm) if tunes else None
                self.plans[turn] = tuning if is_tuning else self._plan(turn, place, followed, hint)
            elif not is_tuning and (agent or self._is_near_wanted(turn.generation)):
                self._plan(turn, place, followed, hint)  # it may be beside one that is wanted
            self._next += 1
            self._next_turn = self._following(turn)

    def _is_near_wanted(self, generation: int) -> bool:
        """Return whether the last generation is wanted of which a prompt may be in flight beside one of another.

        One that ends early has at least as many prompts as are in flight, but for sessions, which have one.
        """
        sampling = self._run.problem.settings.sampling
        others = sampling.batch_generations if sampling.batch_api else 1 + self._widest // turns_of(self._run)
        while others:
            generation += 1
            others -= generation not in self.sessions
        return self._is_wanted(generation)

    def _beside(self) -> list[tuple[Turn, Plan]]:
        """Return the plans that have no result yet, with their turns; those of agents that are put off, too."""
        while self._latest and self._latest[0][0] < self._results:
            self._latest.popleft()
        return [*self._away.values(), *((turn, plan) for _, turn, plan in self._latest)]

    def _slot(self) -> int:
        """Return the place of the next prompt among those in flight; 0 where generations are planned as a whole."""
        return 0 if self._run.problem.settings.sampling.batch_api else self._next % self.window

    def _takes_tuners_turn(self) -> bool:
        """Take the next turn for the tuner, unless one of its turns is in flight before it; return whether it is."""
        if self._last_tuned >= results_needed(self._next, self._run, self.window):
            return False
        self._last_tuned = self._next
        return True

    def _plan(self, turn: Turn, place: int, followed: PromptRecord | None, hint: Intervention | None) -> Plan:
        plan = self.algorithm.ask(turn)
        if hint and hint.program_id:
            pinned = self._composer.pinned(plan, hint.program_id, self.algorithm)
            plan, hint = pinned or plan, hint if pinned else None
        agent = self.sessions.get(turn.generation, "")
        plan = self._composer.compose(plan, turn, place, followed, hint, self._beside(), agent)
        if agent:
            self._away[turn.generation] = turn, plan
        else:
            self._latest.append((self._next, turn, plan))
        return plan

    def takes_over(self, before: Planner, first: tuple[int, int]) -> None:
        """Keep the plans of another planner for the prompts before one: they were asked already."""
        self.plans |= {turn: plan for turn, plan in before.plans.items() if (turn.generation, turn.index) < first}
