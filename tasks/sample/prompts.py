"""Prompts from plans: the programs shown in ascending order of score, and what is asked for."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence

from schemas.algorithm import Plan
from schemas.program import Prompt
from schemas.settings import Model, Sampling
from schemas.skeleton import Skeleton
from tasks.sample.codecs import codec_of
from tasks.sample.feedback import render_feedback


def build_prompts(
    plans: Mapping[int, Plan],
    skeleton: Skeleton,
    sampling: Sampling,
    *,
    statement: str = "",
    feedback_chars: int = 0,
    prompts: int,
    samples: int,
    seed: int,
    generation: int,
) -> list[Prompt]:
    """Write one prompt for each plan; its model is drawn by weight.

    Args:
        plans: Niches and programs to show, from the algorithm, by the index of the prompt.
        skeleton: The fixed part of every program.
        sampling: Settings with the models.
        statement: Task in words; empty for what the skeleton says itself.
        feedback_chars: Longest feedback on a failed or worse child, characters.
        prompts: Number of prompts in the generation.
        samples: Completions to request for each prompt.
        seed: Seed of the run.
        generation: Number of the generation; with the seed it settles everything random.
    """
    rng = random.Random(f"{seed}/{generation}/prompts")
    models = rng.choices(sampling.models, [model.weight for model in sampling.models], k=prompts)
    seeds = [tuple(rng.getrandbits(32) for _ in range(samples)) for _ in range(prompts)]
    return [
        Prompt(
            index=index,
            niche=plan.niche,
            parent_ids=tuple(parent.id for parent in plan.shown),
            model=model.name,
            style=model.style,
            text=render(
                skeleton,
                [parent.body for parent in plan.shown],
                model,
                statement,
                render_feedback(plan, skeleton, feedback_chars if model.style == "chat" else 0),
            ),
            seeds=seeds[index],
            base=plan.base.body,
        )
        for index, plan in plans.items()
        for model in [models[index]]
    ]


def render(skeleton: Skeleton, bodies: Sequence[str], model: Model, statement: str = "", feedback: str = "") -> str:
    """Return the text that a model is sent for programs with these bodies, worst first.

    Args:
        skeleton: The fixed part of every program.
        bodies: Bodies of the programs shown.
        model: The model that is sent the prompt.
        statement: Task in words; empty for what the skeleton says itself.
        feedback: Feedback on a failed or worse child of the last program; empty if there is none.
    """
    return codec_of(skeleton.kind).render(skeleton, bodies, model, statement, feedback)


def prompt_hash(prompt: Prompt) -> str:
    """16 hex digits of model and text; what a paid completion is filed under."""
    return hashlib.sha256(f"{prompt.model}\0{prompt.text}".encode()).hexdigest()[:16]
