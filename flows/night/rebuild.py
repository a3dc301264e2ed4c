"""Rebuild the algorithm of a run and its open plans from its history, as if dropped programs had failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import groupby

from overnight.flows.night.interventions import bases_of, without
from overnight.flows.night.planning import Planner
from overnight.flows.night.turns import prompts_in_flight
from overnight.schemas.algorithm import Algorithm
from overnight.schemas.generation import RunHistory, RunRecord
from overnight.schemas.program import Program
from overnight.tasks.select import create_algorithm
from overnight.tasks.select.founding import Founding
from overnight.tasks.select.front import FrontSearch
from overnight.tasks.select.operators.composer import Composer


def rebuild(run: RunRecord, history: RunHistory, is_wanted: Callable[[int], bool] | None = None) -> Planner:
    """Rebuild the algorithm and its plans from a run's history: those of generations to come, or that are wanted."""
    return _rebuilt(run, history, is_wanted or (lambda generation: generation > history.generations))


def _rebuilt(run: RunRecord, history: RunHistory, is_wanted: Callable[[int], bool]) -> Planner:
    algorithm = _algorithm(run, history.start)
    composer = Composer(run.problem, history.start, run.seed)
    for step in history.steps[: run.given]:
        algorithm.replay(step.all_changes, history.told)
        composer.add({one: history.told[one] for one in step.joined if one in history.told})
    widest = max((prompts_in_flight(run, window.samples) for window in history.windows), default=1)
    given = history.interventions, history.lengths, history.sessions
    planner = Planner(run, algorithm, composer, is_wanted, *given, widest)
    planner = _after_drops(planner, run, history, run.given, 0, is_wanted)
    windows = deque(history.windows)
    last = run.given
    for place, step in enumerate(history.steps[run.given :], start=run.given + 1):
        while windows and windows[0].night <= step.night:
            planner.widen(prompts_in_flight(run, windows.popleft().samples))
        if step.generation > last:
            planner.replay(step, history)
        else:
            planner.replay_out_of_order(step, history.told)
        planner.narrow(step.samples_in_flight)
        last = max(last, step.generation)
        planner = _after_drops(planner, run, history, place, len(history.windows) - len(windows), is_wanted)
    for window in windows:
        planner.widen(prompts_in_flight(run, window.samples))
    return planner


def _algorithm(run: RunRecord, start: Program) -> Algorithm:
    """Return the run's algorithm with nothing in it but the start program, or what founds it if there is none."""
    settings, objectives = run.problem.settings.search.algorithm, run.problem.settings.objectives

    def found(program: Program) -> Algorithm:
        algorithm = create_algorithm(settings, program, run.seed)
        return FrontSearch(algorithm, objectives, program, run.seed) if objectives.searches_front else algorithm

    return found(start) if start.is_scored else Founding(found, start, settings.founded_niches)


def _after_drops(
    planner: Planner, run: RunRecord, history: RunHistory, place: int, windows: int, is_wanted: Callable[[int], bool]
) -> Planner:
    """Return the planner after programs were dropped at a place: as if it had never been told of their scores.

    What was asked by then keeps its plans. `windows` is the number of nights that had begun.
    """
    dropped = set[str]()
    for (at, first), drops in groupby(history.drops, key=lambda one: (one.place, one.begins)):
        dropped |= {one.program_id for one in drops} & history.dropped.keys()
        if at == place and dropped:
            after = _rebuilt(run, without(history, dropped, place, windows), is_wanted)
            after.takes_over(planner, first)
            after.bases = bases_of(history, dropped)
            after.barred = {one.program_id for one in history.drops if one.with_descendants} & dropped
            planner = after
    return planner
