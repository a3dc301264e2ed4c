"""Prompts from plans: the programs shown in ascending order of score, and what is asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.algorithm import Plan
from schemas.operators import Operator
from schemas.problem import Problem
from schemas.program import TUNER, Prompt
from schemas.sampling_settings import Model
from schemas.skeleton import Skeleton
from tasks.sample.codecs import codec_of
from tasks.sample.codecs.codec import PromptContent
from tasks.sample.feedback import describe_failure, render_feedback
from tasks.sample.instructions import failure_note, instruction
from tasks.sample.system_message import packages_in_words, score_note, system_message

_FAILURE_CHARS = 3_000
"""Limit on the error and the output of a failed program that is to be repaired, characters."""


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
    by_name = {model.name: model for model in models}
    prompts = _Prompts(problem, system_message(problem) if search.tells_facts else "")
    return [
        prompts.tuning(index, plan, random.Random(f"{seed}/{generation}/{index}/tuner").getrandbits(32))
        if plan.operator is Operator.TUNE
        else prompts.sampling(index, plan, by_name.get(plan.model, drawn[index]), seeds[index])
        for index, plan in plans.items()
    ]


@dataclass(frozen=True)
class _Prompts:
    """Writes the prompts of a problem; `system` is its system message."""

    problem: Problem
    system: str

    def sampling(self, index: int, plan: Plan, model: Model, seeds: tuple[int, ...]) -> Prompt:
        failed, shown = plan.failed, tuple(program.id for program in plan.shown)
        return Prompt(
            index=index,
            niche=plan.niche,
            parent_ids=(failed.program_id, *shown) if failed else shown,
            model=model.name,
            style=model.style,
            text=render(self.problem.specification, _content(plan, self.problem, model), model),
            seeds=seeds,
            base=failed.body if failed else plan.base.body,
            system=self.system if model.style == "chat" else "",
            operator=plan.operator or "",
        )

    def tuning(self, index: int, plan: Plan, seed: int) -> Prompt:
        """Write what stands for a prompt where the tuner answers, without ids, which differ between runs."""
        return Prompt(
            index=index,
            niche=plan.niche,
            parent_ids=(plan.base.id,),
            model=TUNER,
            style="chat",
            text=f"Optimize the numbers of this program.\n\n{plan.base.body}",
            seeds=(seed,),
            base=plan.base.body,
            operator=Operator.TUNE,
        )


def _content(plan: Plan, problem: Problem, model: Model) -> PromptContent:
    """Return what a prompt shows to a model; one that continues text is told neither facts nor feedback."""
    settings, is_chat = problem.settings, model.style == "chat"
    tells_facts = settings.search.tells_facts and is_chat
    chars = settings.search.feedback_chars if is_chat else 0
    failed = plan.failed
    bodies = [program.body for program in plan.shown]
    notes = [score_note(program, plan.base) for program in plan.shown] if tells_facts else []
    if failed:
        bodies.append(failed.body)
        notes.append(failure_note(failed))
    return PromptContent(
        bodies=tuple(bodies),
        notes=tuple(notes),
        statement=settings.statement,
        has_system_message=tells_facts,
        packages=packages_in_words(problem) if tells_facts else "",
        feedback=describe_failure(failed, _FAILURE_CHARS)
        if failed
        else render_feedback(plan, problem.specification, chars),
        tried=plan.tried,
        instruction=instruction(plan),
        is_repair=failed is not None,
        offers_edits=plan.operator is not Operator.FRESH,
    )


def render(skeleton: Skeleton, content: PromptContent, model: Model) -> str:
    """Return the text that a model is sent."""
    return codec_of(skeleton.kind).render(skeleton, content, model)
