"""From selected parents to prompts: the versions in ascending order, and the header of the next."""

from __future__ import annotations

import hashlib
import random
import textwrap
from collections.abc import Sequence
from functools import cache

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from schemas import source
from schemas.program import Prompt, Selection
from schemas.settings import Model, Sampling
from schemas.specification import Specification


def build_prompts(
    selections: Sequence[Selection],
    specification: Specification,
    sampling: Sampling,
    *,
    samples: int,
    seed: int,
    generation: int,
) -> list[Prompt]:
    """One prompt for each selection; the model of each is drawn by weight.

    Args:
        selections: Islands and parents, from the population.
        specification: Gives preface, header and docstring.
        sampling: Gives the models.
        samples: Completions to ask for, each prompt.
        seed: Of the run.
        generation: Its number; with the seed it settles everything random.
    """
    rng = random.Random(f"{seed}/{generation}/prompts")
    models = rng.choices(sampling.models, [model.weight for model in sampling.models], k=len(selections))
    return [
        Prompt(
            index=index,
            island=selection.island,
            parent_ids=tuple(parent.id for parent in selection.parents),
            model=model.name,
            style=model.style,
            text=render(specification, [parent.body for parent in selection.parents], model),
            seeds=tuple(rng.getrandbits(32) for _ in range(samples)),
        )
        for index, (selection, model) in enumerate(zip(selections, models, strict=True))
    ]


def render(specification: Specification, bodies: Sequence[str], model: Model) -> str:
    """The text that a model is sent for parents with these bodies, worst first."""
    name = specification.evolved
    target = len(bodies)
    return (
        _environment()
        .get_template(f"{model.style}.jinja")
        .render(
            preface=specification.preface,
            wanted=specification.docstring,
            versions=[_version(specification, body, number) for number, body in enumerate(bodies)],
            header=_header(specification, target),
            target=f"{name}_v{target}",
            latest=f"{name}_v{target - 1}",
        )
    )


def prompt_hash(prompt: Prompt) -> str:
    """16 hex digits of model and text; what a paid completion is filed under."""
    return hashlib.sha256(f"{prompt.model}\0{prompt.text}".encode()).hexdigest()[:16]


def _version(specification: Specification, body: str, number: int) -> str:
    docstring = (
        specification.function_docstring
        if number == 0
        else f"Improved version of `{_name(specification, number - 1)}`."
    )
    body = source.rename(body, {specification.evolved: _name(specification, number)})
    quoted = '"""' + docstring.replace("\\", "\\\\").replace('"""', "'''") + ("\n" if "\n" in docstring else "") + '"""'
    parts = [textwrap.indent(quoted, "    ")] if docstring else []
    return "\n".join([_header(specification, number), *parts, textwrap.indent(body, "    ")])


def _header(specification: Specification, number: int) -> str:
    return source.rename_first(specification.header, specification.evolved, _name(specification, number))


def _name(specification: Specification, number: int) -> str:
    return f"{specification.evolved}_v{number}"


@cache
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=PackageLoader("tasks.sample"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
