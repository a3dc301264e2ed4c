"""From which population the prompts of each generation come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from schemas.feedback import Feedback
from schemas.generation import RunHistory, RunRecord
from schemas.program import Selection
from tasks.select.islands import Population


def asked_after(number: int, run: RunRecord) -> range:
    """The generations whose parents come from the population as it is after this one.

    With a lookahead of L, it is generation g + 1 + L; with batches of G, after each G generations the next G. The first
    ones come from the start program's population, or from that of what was given with it.
    """
    settings = run.problem.settings
    if settings.sampling.batch_api:
        size = settings.sampling.batch_generations
        return range(number + 1, number + 1 + size) if (number - run.given) % size == 0 else range(0)
    lookahead = settings.search.lookahead
    return range(number + 1 if number == run.given else number + 1 + lookahead, number + 2 + lookahead)


def rebuild(run: RunRecord, past: RunHistory) -> tuple[Population, dict[int, list[Selection]], dict[str, Feedback]]:
    """The population after everything that is committed, what it was asked for the generations to come and failed, and
    the lessons.
    """
    population = Population(run.problem.settings.search, past.start, run.seed)
    given, steps = past.steps[: run.given], past.steps[run.given :]
    for step in given:
        population.replay(step.changes, past.programs)
    asked = {number: population.ask(number) for number in filter(past.is_open, asked_after(run.given, run))}
    feedback: dict[str, Feedback] = {}
    last = run.given
    for step in steps:
        population.replay(step.changes, past.programs)
        feedback |= step.feedback
        if step.generation > last:
            for number in filter(past.is_open, asked_after(step.generation, run)):
                asked[number] = with_feedback(population.ask(number), feedback)
        last = max(last, step.generation)
    return population, asked, feedback


def with_feedback(selections: Sequence[Selection], feedback: Mapping[str, Feedback]) -> list[Selection]:
    """The selections, each with the lesson of its best parent if there is one."""
    return [replace(one, feedback=feedback.get(one.parents[-1].id)) for one in selections]
