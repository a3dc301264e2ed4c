"""Prompts from plans: the programs shown in ascending order of score, then the header of the next version."""

from __future__ import annotations

import hashlib
import random
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from schemas import source
from schemas.algorithm import Plan
from schemas.evolved_function import EvolvedFunction
from schemas.marked_file import MarkedFile
from schemas.program import Prompt
from schemas.settings import Model, Sampling
from schemas.skeleton import Skeleton
from schemas.specification import Specification
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
    match skeleton:
        case Specification():
            return _render_functions(skeleton, bodies, model, statement, feedback)
        case MarkedFile():
            return _render_file(skeleton, bodies, statement, feedback)
        case _:
            raise TypeError(f"no prompt for {type(skeleton).__name__}")


_LONG_LINES = 60
"""Lines of a body from which on a model may answer with edits, which cost less than the whole and fail less often."""


def _render_file(file: MarkedFile, bodies: Sequence[str], statement: str, feedback: str) -> str:
    """Render the prompt of a whole file, which has one form for chat and completion models."""
    *earlier, best = bodies
    blocks = len(file.fixed) - 1
    return (
        _environment()
        .get_template("file.jinja")
        .render(
            wanted=statement,
            marked=file.fixed != ("", ""),
            blocks=blocks,
            language=file.language,
            name=file.name,
            earlier=earlier,
            feedback=feedback,
            file=file.with_body(best).rstrip("\n"),
            is_long=best.count("\n") >= _LONG_LINES,
        )
    )


def _render_functions(
    specification: Specification, bodies: Sequence[str], model: Model, statement: str, feedback: str
) -> str:
    target = len(bodies)
    return (
        _environment()
        .get_template(f"{model.style}.jinja")
        .render(
            preface=specification.preface,
            wanted=statement or specification.docstring,
            feedback=feedback,
            versions=[_version(specification, body, number) for number, body in enumerate(bodies)],
            headers=[_header(function, target) for function in specification.functions],
            targets=[_name(name, target) for name in specification.evolved],
            latest=[_name(name, target - 1) for name in specification.evolved],
        )
    )


def prompt_hash(prompt: Prompt) -> str:
    """16 hex digits of model and text; what a paid completion is filed under."""
    return hashlib.sha256(f"{prompt.model}\0{prompt.text}".encode()).hexdigest()[:16]


def _version(specification: Specification, body: str, number: int) -> str:
    """All evolved functions of one version; they call each other under its names."""
    names = {name: _name(name, number) for name in specification.evolved}
    bodies = [source.rename(own, names) for own in specification.split(body)]
    both = zip(specification.functions, bodies, strict=True)
    return "\n\n\n".join(_function(function, own, number) for function, own in both)


def _function(function: EvolvedFunction, body: str, number: int) -> str:
    docstring = function.docstring if number == 0 else f"Improved version of `{_name(function.name, number - 1)}`."
    quoted = '"""' + docstring.replace("\\", "\\\\").replace('"""', "'''") + ("\n" if "\n" in docstring else "") + '"""'
    parts = [textwrap.indent(quoted, "    ")] if docstring else []
    return "\n".join([_header(function, number), *parts, textwrap.indent(body, "    ")])


def _header(function: EvolvedFunction, number: int) -> str:
    return source.rename_first(function.header, function.name, _name(function.name, number))


def _name(name: str, number: int) -> str:
    return f"{name}_v{number}"


@cache
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=PackageLoader("tasks.sample"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
