"""`overnight run` and `overnight resume`: a night in the foreground."""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from flows.cli.notices import Notices
from flows.cli.text import DEFAULT_HISTORY, History, NewRun, say, say_notes
from schemas.errors import UsageError

if TYPE_CHECKING:
    from flows.rules import StopRules

Generations = Annotated[int | None, Parameter(help="stop after so many generations in this night")]
MaxSamples = Annotated[
    int | None, Parameter(name=("--max-samples", "--samples"), help="stop after so many samples in this night")
]
MaxTokens = Annotated[int | None, Parameter(help="stop after so many tokens, in and out, in this night")]
Until = Annotated[str | None, Parameter(help="stop at a time of day, a moment or after a duration: 07:00, 7h30m")]
Budget = Annotated[float | None, Parameter(help="stop when this many USD are spent in this night")]
TotalBudget = Annotated[float | None, Parameter(help="stop when this many USD are spent on the run, in all its nights")]
Patience = Annotated[int | None, Parameter(help="stop after so many generations without improvement")]
Target = Annotated[float | None, Parameter(help="stop when the best score is at least this")]
Image = Annotated[str | None, Parameter(help="container image that the engine has, with python3; nothing is pulled")]
Runtime = Annotated[str | None, Parameter(help="container runtime that the engine knows, such as runsc")]
Batch = Annotated[
    bool,
    Parameter(help="send prompts through the provider's Batch API: half price, answers within a day"),
]


def run(
    problem: Annotated[str, Parameter(help="a name from `overnight problems`, or a specification file")],
    /,
    *,
    model: Annotated[
        list[str] | None, Parameter(help="LiteLLM model string; NAME=WEIGHT for a share; repeatable")
    ] = None,
    api_base: Annotated[str | None, Parameter(help="address of an OpenAI-compatible server for these models")] = None,
    style: Annotated[str | None, Parameter(help="`chat` or `completion`: how prompts are written")] = None,
    batch: Batch = False,
    generations: Generations = None,
    max_samples: MaxSamples = None,
    max_tokens: MaxTokens = None,
    until: Until = None,
    budget: Budget = None,
    total_budget: TotalBudget = None,
    target: Target = None,
    patience: Patience = None,
    confirm: Annotated[
        Literal["never", "best", "always"] | None,
        Parameter(help="which programs are run again, split, in a fresh container, before their score counts"),
    ] = None,
    image: Image = None,
    runtime: Runtime = None,
    seed: Annotated[int | None, Parameter(help="everything random comes from it; default: drawn and shown")] = None,
    inputs: Annotated[str | None, Parameter(help="training inputs as JSON, in place of the specification's")] = None,
    set: Annotated[list[str] | None, Parameter(help="any setting, as key=value; repeatable")] = None,  # noqa: A002
    notices: Notices = Notices(),  # noqa: B008  (frozen)
    history: NewRun = DEFAULT_HISTORY,
) -> int:
    """Start a run: score the start program, then search until a rule stops the night or you do (Ctrl-C)."""
    from flows.images import image_of
    from schemas.problem import load_problem
    from tasks.problems import find
    from tasks.sample.batches import require_batches
    from tasks.sample.provider import require_keys, require_prices

    rules = stop_rules(
        until,
        generations=generations,
        max_samples=max_samples,
        max_tokens=max_tokens,
        budget_usd=budget,
        total_budget_usd=total_budget,
        target=target,
        patience=patience,
    )
    path = find(problem)
    settings = overrides(model, api_base, style, inputs, set, batch, confirm=confirm, image=image, runtime=runtime)
    loaded = load_problem(path, settings)
    say_notes(loaded)
    require_batches(loaded.settings.sampling)
    if rules.budget.is_in_usd:
        require_prices(loaded.settings.sampling)
    require_keys(loaded.settings.sampling)
    seed = secrets.randbelow(2**31) if seed is None else seed
    with notices.notifier().watching(loaded.name) as notifier:
        image_of(loaded, say)
        from flows.cli.night import spend_night  # here: nothing of Prefect is imported for what is refused
        from flows.start import create_run

        begin = partial(create_run, loaded, path, history, seed=seed, tell=say)
        return spend_night(begin, rules, history, notifier=notifier)


def resume(
    run: Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`")],
    /,
    *,
    generations: Generations = None,
    max_samples: MaxSamples = None,
    max_tokens: MaxTokens = None,
    until: Until = None,
    budget: Budget = None,
    total_budget: TotalBudget = None,
    target: Target = None,
    patience: Patience = None,
    notices: Notices = Notices(),  # noqa: B008  (frozen)
    history: History = DEFAULT_HISTORY,
) -> int:
    """Go on with a run, from its files alone. What was paid for before is not bought again."""
    from flows.images import image_of
    from tasks.history import record
    from tasks.history.files import find_run

    rules = stop_rules(
        until,
        generations=generations,
        max_samples=max_samples,
        max_tokens=max_tokens,
        budget_usd=budget,
        total_budget_usd=total_budget,
        target=target,
        patience=patience,
    )
    files = find_run(history, run)
    with notices.notifier().watching(files.run_id) as notifier:
        image_of(record.read_run(files).problem, say)
        from flows.cli.night import spend_night

        return spend_night(lambda: files, rules, history, notifier=notifier)


def stop_rules(until: str | None, **rules: float | None) -> StopRules:
    """The rules as typed.

    Args:
        until: `--until`.
        rules: The others, by their names in `StopRules`.

    Raises:
        UsageError: If a number makes no sense.
    """
    from pydantic import ValidationError

    from flows.rules import StopRules
    from flows.when import local_now, parse_until

    deadline = None if until is None else parse_until(until, local_now())
    if deadline is not None:
        say(f"until {deadline:%Y-%m-%d %H:%M %Z}")
    try:
        return StopRules.model_validate({**rules, "until": deadline})
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]).removesuffix("_usd").replace("_", "-")
        raise UsageError(f"--{flag}: {first['msg']}, got {first['input']}") from error


def overrides(
    models: list[str] | None,
    api_base: str | None,
    style: str | None,
    inputs: str | None,
    sets: list[str] | None,
    batch: bool = False,
    **sandbox: str | None,
) -> dict[str, Any]:
    """The settings that the flags of a command say; those of the sandbox by their names."""
    from schemas.problem import set_by_path

    overrides: dict[str, Any] = {}
    for assignment in sets or ():
        set_by_path(overrides, assignment)
    if models:
        overrides.setdefault("sampling", {})["models"] = [_model(text, api_base, style) for text in models]
    elif api_base or style:
        raise UsageError("--api-base and --style say something about a model, and there is none", remedy="Add --model.")
    if batch:
        overrides.setdefault("sampling", {})["batch_api"] = True
    for name, value in sandbox.items():
        if value is not None:
            overrides.setdefault("sandbox", {})[name] = value
    if inputs is not None:
        overrides["inputs"] = _json(inputs)
    return overrides


def _model(text: str, api_base: str | None, style: str | None) -> dict[str, Any]:
    name, separator, weight = text.rpartition("=")
    if not separator:
        name, weight = text, "1"
    default_style = "completion" if name.startswith("builtin/") else "chat"
    model = {"name": name, "weight": weight, "style": style or default_style}
    return model | ({"api_base": api_base} if api_base else {})


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"--inputs takes JSON, got {text!r}: {error}", remedy="For example: --inputs '[8]'") from error
