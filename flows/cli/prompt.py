"""`overnight prompt`: print what a model would be sent first."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flows.cli.options import ApiBase, Inputs, Models, ProblemName, Sets, Style, overrides
from flows.cli.printing import say, say_notes, write_text

if TYPE_CHECKING:
    from schemas.problem import Problem
    from schemas.sampling_settings import Model


def prompt(
    problem: ProblemName,
    /,
    *,
    model: Models = None,
    api_base: ApiBase = None,
    style: Style = None,
    inputs: Inputs = None,
    set: Sets = None,  # noqa: A002
    format: Annotated[Literal["text", "json"], Parameter(help="json: the messages")] = "text",  # noqa: A002
) -> None:
    """Print the first prompt of a run, which shows the start program; nothing is run, and no model is asked.

    Without a model, it is the prompt that a chat model would be sent.
    """
    from tasks.problems import find
    from tasks.problems.loading.load import load_problem
    from tasks.sample.probe import build_probe_prompts

    loaded = load_problem(find(problem), overrides(model, api_base, style, inputs, set))
    say_notes(loaded)
    chosen = _model(loaded)
    (shown,) = build_probe_prompts(_with_one_parent(loaded), chosen, 1)
    say(f"what {chosen.name} would be sent first: {len(shown.whole_text):,} characters")
    if loaded.settings.known.start is None and shown.system:
        say(
            "note: the problem declares no score of its start program (known.start), so 0 stands for it here; "
            "a run scores it first"
        )
    if format == "json":
        write_text(json.dumps(shown.messages if shown.style == "chat" else [{"prompt": shown.text}], indent=1))
    else:
        write_text(shown.whole_text)


def _model(problem: Problem) -> Model:
    """Return the first model; in place of the built-in one, some chat model."""
    from tasks.sample.provider import own_provider

    first = problem.settings.sampling.models[0]
    return first.model_copy(update={"name": "a chat model", "style": "chat"}) if own_provider(first.name) else first


def _with_one_parent(problem: Problem) -> Problem:
    """Return the problem with one program in each prompt, as in the first prompts of a run."""
    search = problem.settings.search
    algorithm = search.algorithm.model_copy(update={"parents": 1})
    settings = problem.settings.model_copy(update={"search": search.model_copy(update={"algorithm": algorithm})})
    return replace(problem, settings=settings)
