"""Plans of generations to come: which state of the algorithm the prompts of each are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from schemas.algorithm import Algorithm, Plan, Turn
from schemas.feedback import Feedback
from schemas.generation import RunHistory, RunRecord
from tasks.select.registry import create_algorithm


def asked_after(number: int, run: RunRecord) -> range:
    """Return the generations that are planned once generation `number` has ended.

    With a lookahead of L, that is generation `number` + 1 + L; with batch jobs of G generations, the next G after every
    G. The first ones are planned from the start program, or from the programs that the run was begun with.
    """
    settings = run.problem.settings
    if settings.sampling.batch_api:
        size = settings.sampling.batch_generations
        return range(number + 1, number + 1 + size) if (number - run.given) % size == 0 else range(0)
    lookahead = settings.search.lookahead
    return range(number + 1 if number == run.given else number + 1 + lookahead, number + 2 + lookahead)


def rebuild(run: RunRecord, history: RunHistory) -> tuple[Algorithm, dict[int, list[Plan]], dict[str, Feedback]]:
    """Rebuild the algorithm from a run's history.

    Returns:
        The algorithm after all committed generations, its plans by generation for those that are to come or have
        failed, and the feedback by the id of the base program.
    """
    search = run.problem.settings.search
    algorithm = create_algorithm(search.algorithm, history.start, run.seed)
    given, steps = history.steps[: run.given], history.steps[run.given :]
    for step in given:
        algorithm.replay(step.changes, history.programs)
    open_now = filter(history.is_open, asked_after(run.given, run))
    plans = {number: plan_generation(algorithm, number, search.prompts) for number in open_now}
    feedback: dict[str, Feedback] = {}
    last = run.given
    for step in steps:
        algorithm.replay(step.changes, history.programs)
        feedback |= step.feedback
        if step.generation > last:
            for number in filter(history.is_open, asked_after(step.generation, run)):
                plans[number] = with_feedback(plan_generation(algorithm, number, search.prompts), feedback)
        last = max(last, step.generation)
    return algorithm, plans, feedback


def plan_generation(algorithm: Algorithm, generation: int, prompts: int) -> list[Plan]:
    """Ask the algorithm for a plan for each prompt of a generation."""
    return [algorithm.ask(Turn(generation, index)) for index in range(prompts)]


def with_feedback(plans: Sequence[Plan], feedback: Mapping[str, Feedback]) -> list[Plan]:
    """Return the plans, each with the feedback on its base if there is any."""
    return [replace(plan, feedback=feedback.get(plan.base.id)) for plan in plans]
