"""Prompts from plans: the programs shown in ascending order of score, and what is asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping

from schemas.algorithm import Plan
from schemas.problem import Problem
from schemas.program import Prompt
from schemas.settings import Model
from schemas.skeleton import Skeleton
from tasks.sample.codecs import codec_of
from tasks.sample.codecs.codec import PromptContent
from tasks.sample.feedback import render_feedback
from tasks.sample.system_message import packages_in_words, score_note, system_message


def build_prompts(plans: Mapping[int, Plan], problem: Problem, *, seed: int, generation: int) -> list[Prompt]:
    """Write one prompt for each plan; its model is drawn by weight.

    Args:
        plans: Niches and programs to show, from the algorithm, by the index of the prompt.
        problem: The problem, whose settings have the models and the size of a generation.
        seed: Seed of the run.
        generation: Number of the generation; with the seed it settles everything random.
    """
    search, models = problem.settings.search, problem.settings.sampling.models
    rng = random.Random(f"{seed}/{generation}/prompts")
    drawn = rng.choices(models, [model.weight for model in models], k=search.prompts)
    seeds = [tuple(rng.getrandbits(32) for _ in range(search.samples)) for _ in range(search.prompts)]
    system = system_message(problem) if search.tells_facts else ""
    return [
        Prompt(
            index=index,
            niche=plan.niche,
            parent_ids=tuple(parent.id for parent in plan.shown),
            model=drawn[index].name,
            style=drawn[index].style,
            text=render(problem.specification, _content(plan, problem, drawn[index]), drawn[index]),
            seeds=seeds[index],
            base=plan.base.body,
            system=system if drawn[index].style == "chat" else "",
        )
        for index, plan in plans.items()
    ]


def _content(plan: Plan, problem: Problem, model: Model) -> PromptContent:
    """Return what a prompt shows to a model; one that continues text is told neither facts nor feedback."""
    settings, is_chat = problem.settings, model.style == "chat"
    tells_facts = settings.search.tells_facts and is_chat
    return PromptContent(
        bodies=tuple(program.body for program in plan.shown),
        notes=tuple(score_note(program, plan.base) for program in plan.shown) if tells_facts else (),
        statement=settings.statement,
        has_system_message=tells_facts,
        packages=packages_in_words(problem) if tells_facts else "",
        feedback=render_feedback(plan, problem.specification, settings.search.feedback_chars if is_chat else 0),
    )


def render(skeleton: Skeleton, content: PromptContent, model: Model) -> str:
    """Return the text that a model is sent."""
    return codec_of(skeleton.kind).render(skeleton, content, model)
