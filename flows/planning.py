"""Order in which prompts are planned and the algorithm is told of results.

Prompts have serial numbers over the whole search: generation after generation, in the order of their indices. An
algorithm is told of results in this order, prompt by prompt, and asked for a plan as soon as it has been told of all
results that the plan may see. So a plan depends on the order of prompts alone, never on which answer arrived first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from schemas.algorithm import Algorithm, Change, Plan, PromptResult, Turn
from schemas.feedback import Feedback
from schemas.generation import RunHistory, RunRecord, Step
from schemas.operators import Operator
from schemas.program import Program
from schemas.prompt_record import PromptRecord
from tasks.select.operators.composer import Composer
from tasks.select.registry import create_algorithm

_PROMPTS_PER_TASK = 4
"""Prompts that one sample task asks for, unless the settings say otherwise or the window is wide."""

_MAX_UNFOLLOWED = 64
"""Latest prompts that are kept for the plans that follow them."""


def turns_of(run: RunRecord) -> int:
    """Return the number of turns of a generation: its prompts, and a last one for the tuner of numbers, if it has one.

    The tuner's turn may pass without a prompt.
    """
    return run.problem.settings.search.prompts + run.problem.tunes


def serial_of(turn: Turn, run: RunRecord) -> int:
    """Return the serial number of a turn, from 0."""
    return (turn.generation - 1 - run.given) * turns_of(run) + turn.index


def turn_of(serial: int, run: RunRecord) -> Turn:
    """Return the generation, the index and the slot of a turn."""
    before, index = divmod(serial, turns_of(run))
    return Turn(before + 1 + run.given, index, slot_of(serial, run))


def slot_of(serial: int, run: RunRecord) -> int:
    """Return the place of a prompt among those in flight; 0 where whole generations are planned at a time."""
    settings = run.problem.settings
    return 0 if settings.sampling.batch_api else serial % settings.search.window_prompts


def results_needed(turn: Turn, run: RunRecord) -> int:
    """Return the number of prompts whose results the algorithm is told of before a prompt is planned.

    With a window of W prompts, that is all but the last W before it. With batch jobs of G generations, it is all
    before the group of G.
    """
    search, sampling = run.problem.settings.search, run.problem.settings.sampling
    generations = turn.generation - 1 - run.given
    if sampling.batch_api:
        return generations // sampling.batch_generations * sampling.batch_generations * turns_of(run)
    return max(0, serial_of(turn, run) + 1 - search.window_prompts)


def may_tune(generation: int, run: RunRecord) -> bool:
    """Return whether the tuner has a turn in a generation: only if none of its turns is in flight before it."""
    search, sampling = run.problem.settings.search, run.problem.settings.sampling
    in_flight = -(-search.window_prompts // turns_of(run))
    if sampling.batch_api:
        in_flight = sampling.batch_generations
    return (generation - 1 - run.given) % in_flight == 0


def prompts_per_task(run: RunRecord) -> int:
    """Return the number of prompts that one sample task asks for.

    Within a window it is a quarter of the window at most, since a task begins when all of its prompts are planned. In a
    wide window, such as that of a cluster, tasks are larger by default: each costs Prefect some 20 ms.
    """
    search, sampling = run.problem.settings.search, run.problem.settings.sampling
    if sampling.batch_api:
        return sampling.batch or _PROMPTS_PER_TASK
    wanted = sampling.batch or max(_PROMPTS_PER_TASK, search.window_prompts // 8)
    return min(wanted, max(1, search.window_prompts // 4))


class Planner:
    """Tells an algorithm of results in order, and asks it for each plan when it is due.

    Args:
        run: The run.
        algorithm: The algorithm, with nothing in it but the programs that the search began with.
        is_wanted: Whether plans of a generation are wanted.

        composer: Completes the algorithm's plans; it is told of the same results. `None` leaves plans as they are.

    Attributes:
        algorithm: The algorithm after all results that it was told of.
        plans: Plans of the turns that are due; `None` for a turn of the tuner that passes.
    """

    def __init__(
        self, run: RunRecord, algorithm: Algorithm, is_wanted: Callable[[int], bool], composer: Composer | None = None
    ) -> None:
        self.algorithm = algorithm
        self.plans: dict[Turn, Plan | None] = {}
        self._composer = composer
        self._run = run
        self._is_wanted = is_wanted
        self._results = 0
        self._next = 0
        self._unfollowed: deque[PromptRecord] = deque(maxlen=_MAX_UNFOLLOWED)
        self._plan_what_is_due()

    def gain_of(self, answer: Feedback) -> float | None:
        """Return what an answer gained on its base; `None` where nothing is chosen by gains."""
        return self._composer.gain_of(answer) if self._composer else None

    def tell(
        self, turn: Turn, results: Sequence[PromptResult], record: PromptRecord | None, *, reset: bool
    ) -> tuple[Change, ...]:
        """Tell the algorithm of the results of the next prompt in order, and return what changed.

        Args:
            turn: The prompt.
            results: Its result; none if it has no candidate.
            record: How it was asked and answered; `None` if it has no candidate.
            reset: Whether a periodic reset is due after it.
        """
        changes = self.algorithm.tell(turn.generation, results, reset=reset)
        self._count(record)
        return tuple(changes)

    def tell_out_of_order(
        self, generation: int, results: Sequence[PromptResult], record: PromptRecord | None
    ) -> tuple[Change, ...]:
        """Tell the algorithm of results of a generation that was given up before, whose place was counted then."""
        self._learn(record)
        return tuple(self.algorithm.tell(generation, results, reset=False))

    def replay(self, step: Step, programs: Mapping[str, Program]) -> None:
        """Repeat a generation of the history; one that failed counts as having no results."""
        for index in range(turns_of(self._run)):
            self.algorithm.replay(step.changes.get(index, ()), programs)
            self._count(step.records.get(index))

    def replay_out_of_order(self, step: Step, programs: Mapping[str, Program]) -> None:
        """Repeat a generation that was committed after later ones; its place in the order was counted then."""
        self.algorithm.replay(step.all_changes, programs)
        for index in sorted(step.records):
            self._learn(step.records[index])

    def forget(self, generation: int) -> None:
        """Drop the plans of a generation that has ended."""
        self.plans = {turn: plan for turn, plan in self.plans.items() if turn.generation != generation}

    def _count(self, record: PromptRecord | None) -> None:
        self._learn(record)
        self._results += 1
        self._plan_what_is_due()

    def _learn(self, record: PromptRecord | None) -> None:
        if self._composer and record:
            self._composer.tell(record)
            if record.operator != Operator.TUNE:
                self._unfollowed.append(record)

    def _plan_what_is_due(self) -> None:
        first = self._next
        while results_needed(turn := turn_of(self._next, self._run), self._run) <= self._results:
            is_tuning = turn.index == self._run.problem.settings.search.prompts
            followed = None if is_tuning else self._take_unfollowed()
            if self._is_wanted(turn.generation):
                place = self._next - first
                self.plans[turn] = self._tuning(turn) if is_tuning else self._plan(turn, place, followed)
            self._next += 1

    def _take_unfollowed(self) -> PromptRecord | None:
        """Take the latest prompt that no plan follows; it is taken for unwanted plans, too, as the night did."""
        return self._unfollowed.pop() if self._unfollowed else None

    def _tuning(self, turn: Turn) -> Plan | None:
        if self._composer is None or not may_tune(turn.generation, self._run):
            return None
        return self._composer.tuning(self.algorithm)

    def _plan(self, turn: Turn, place: int, followed: PromptRecord | None) -> Plan:
        plan = self.algorithm.ask(turn)
        return self._composer.compose(plan, turn, place, followed) if self._composer else plan


def rebuild(run: RunRecord, history: RunHistory) -> Planner:
    """Rebuild the algorithm and its open plans from a run's history."""
    algorithm = create_algorithm(run.problem.settings.search.algorithm, history.start, run.seed)
    composer = Composer(run.problem, history.start, run.seed)
    for step in history.steps[: run.given]:
        algorithm.replay(step.all_changes, history.programs)
        composer.add({one: history.programs[one] for one in step.joined if one in history.programs})
    planner = Planner(run, algorithm, lambda generation: generation > history.generations, composer)
    last = run.given
    for step in history.steps[run.given :]:
        if step.generation > last:
            planner.replay(step, history.programs)
        else:
            planner.replay_out_of_order(step, history.programs)
        last = max(last, step.generation)
    return planner
