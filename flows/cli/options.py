"""Flags that several commands share, and what is made of them: rules that stop a night, and settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.printing import say
from schemas.errors import UsageError

if TYPE_CHECKING:
    from flows.stop_conditions import StopConditions

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
Grace = Annotated[
    float | None,
    Parameter(help="seconds after the deadline until the generation under way is cut short; default: 60"),
]
Image = Annotated[str | None, Parameter(help="container image that the engine has, with python3; nothing is pulled")]
Runtime = Annotated[str | None, Parameter(help="container runtime that the engine knows, such as runsc")]
TrustSettings = Annotated[
    bool,
    Parameter(
        name="--trust-settings",
        help="accept addresses, logins, prices, image, runtime and downloads that the files or the run propose",
        show_default=False,
    ),
]
Batch = Annotated[
    bool,
    Parameter(
        help="send prompts through the provider's Batch API: half price, answers within a day", show_default=False
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules that are the same every night; when it ends is another matter."""

    generations: Generations = None
    max_samples: MaxSamples = None
    max_tokens: MaxTokens = None
    budget: Budget = None
    total_budget: TotalBudget = None
    target: Target = None
    patience: Patience = None
    grace: Grace = None

    def given(self) -> dict[str, Any]:
        """Those that were typed, by their names in `StopConditions`."""
        named = {
            "generations": self.generations,
            "max_samples": self.max_samples,
            "max_tokens": self.max_tokens,
            "budget_usd": self.budget,
            "total_budget_usd": self.total_budget,
            "target": self.target,
            "patience": self.patience,
            "grace_s": self.grace,
        }
        return {name: value for name, value in named.items() if value is not None}

    def checked(self, until: str | None = None) -> StopConditions:
        """Those of one night. Raises: UsageError: If a number makes no sense."""
        return stop_rules(until, **self.given())


def stop_rules(until: str | None, **rules: float | None) -> StopConditions:
    """The rules as typed.

    Args:
        until: `--until`.
        rules: The others, by their names in `StopConditions`.

    Raises:
        UsageError: If a number makes no sense.
    """
    from pydantic import ValidationError

    from flows.deadlines import local_now, parse_until
    from flows.stop_conditions import StopConditions

    deadline = None if until is None else parse_until(until, local_now())
    if deadline is not None:
        say(f"until {deadline:%Y-%m-%d %H:%M %Z}")
    try:
        return StopConditions.model_validate({**rules, "until": deadline})
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]).removesuffix("_usd").removesuffix("_s").replace("_", "-")
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
    from schemas.config_layers import set_by_path

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
    from schemas.bounded_parsing import parse_json

    try:
        return parse_json(text)
    except ValueError as error:
        raise UsageError(f"--inputs takes JSON, got {text!r}: {error}", remedy="For example: --inputs '[8]'") from error
