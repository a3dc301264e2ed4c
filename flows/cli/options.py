"""Command-line flags that several commands share: stop conditions, settings and notifications."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from cyclopts import Group, Parameter

from overnight.flows.cli.printing import say, say_notes
from overnight.flows.night.deadlines import local_now, parse_until
from overnight.flows.night.notifications import Notifier, notification_addresses
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.start.judging import judge_entry, require_judge
from overnight.flows.start.sandboxes import require_agents
from overnight.flows.start.trust import accept
from overnight.schemas.errors import UsageError, in_words
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import require_address
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.bounded_parsing import parse_json
from overnight.tasks.program.config_layers import set_by_path
from overnight.tasks.sample.provider import require_prices

_stop = partial(Parameter, group=Group("Stop conditions (the first one that is met ends the night)", sort_key=1))
_models = partial(Parameter, group=Group("Models", sort_key=2))
_evaluation = partial(Parameter, group=Group("Evaluation", sort_key=3))
_notifications = partial(Parameter, group=Group("Notifications", sort_key=4))

ProblemName = Annotated[str, Parameter(help="a name from `overnight problems`, a specification file, or a directory")]
RunId = Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`; a problem's name is its last run")]
AnyRun = Annotated[str | None, Parameter(help="a run id, a unique prefix of one, or `last`; default: all runs")]

Models = Annotated[
    list[str] | None,
    _models(
        help="LiteLLM model string, command:NAME of your configuration file, or relay:FOLDER; NAME=WEIGHT sets its "
        "share of the prompts; repeatable"
    ),
]
ApiBase = Annotated[str | None, _models(help="address of an OpenAI-compatible server for these models")]
JudgeName = Annotated[
    str | None, _models(name="--judge", help="model that the scoring asks, where it asks one by funsearch.ask")
]
Style = Annotated[str | None, _models(help="how prompts are written: `chat` or `completion`")]

Confirm = Annotated[
    Literal["never", "best", "always"] | None,
    _evaluation(help="which programs must repeat their score, isolated, in a fresh container; default: best"),
]
Inputs = Annotated[str | None, _evaluation(help="training inputs as JSON, instead of the specification's")]
Image = Annotated[
    str | None, _evaluation(help="container image with python3 that the engine already has; nothing is pulled")
]
Runtime = Annotated[str | None, _evaluation(help="container runtime that the engine knows, such as runsc")]
Backend = Annotated[
    str | None,
    _evaluation(
        name="--sandbox", help="where candidates run: docker, or process for a try without an engine, hardly confined"
    ),
]
ClusterName = Annotated[
    str | None,
    _evaluation(
        name="--cluster",
        help="evaluate on the machines of this cluster, tls://HOST:PORT, on local:N for a try, or here alone: none; "
        "default: OVERNIGHT_CLUSTER, or your configuration file's",
    ),
]


def require_int64(_: object, seed: int | None) -> None:
    """Refuse a seed that the history cannot hold, before a run is created."""
    if seed is not None and not -(2**63) <= seed < 2**63:
        raise ValueError(f"expected a number from -2**63 to 2**63 - 1, got {seed}")


Seed = Annotated[
    int | None, Parameter(help="seed of all random choices; default: drawn and shown", validator=require_int64)
]
FurtherStarts = Annotated[
    list[str] | None,
    Parameter(
        name="--start",
        help="further program to begin with: a specification file, RUN for the survivors of an earlier run, or "
        "RUN:PROGRAM; repeatable",
    ),
]
Sets = Annotated[
    list[str] | None, Parameter(help="any setting, as key=value; schemas/README.md lists them; repeatable")
]
TrustSettings = Annotated[
    bool,
    Parameter(
        name="--trust-settings",
        help="accept the addresses, logins, prices, image, runtime and downloads that the files or the run propose",
        show_default=False,
    ),
]
NightFormat = Annotated[
    Literal["text", "json"],
    Parameter(name="--format", help="json: a line of JSON for each generation on stdout, for programs; no summary"),
]

Until = Annotated[
    str | None, _stop(help="stop at a time of day, at a date and time, or after a duration: 07:00, 7h30m")
]
UntilEveryNight = Annotated[
    str | None, _stop(name="--until", help="stop each night at a time of day or after a duration: 07:00, 7h30m")
]
MaxTokens = Annotated[
    int | None, _stop(help="stop after this many tokens in this night, prompts and completions together")
]
Budget = Annotated[float | None, _stop(name="--budget", help="stop when this many USD have been spent in this night")]
TotalBudget = Annotated[
    float | None,
    _stop(name="--total-budget", help="stop when this many USD have been spent on the run, over all its nights"),
]


def flag_of(condition: str) -> str:
    """Return the flag of a stop condition, without its dashes: `total-budget` for `total_budget_usd`."""
    return condition.removesuffix("_usd").removesuffix("_s").replace("_", "-")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StopOptions:
    """Stop conditions that are the same every night, by their names in `StopConditions`; `--until` is not."""

    generations: Annotated[int | None, _stop(help="stop after this many generations in this night")] = None
    max_samples: Annotated[
        int | None, _stop(name=("--max-samples", "--samples"), help="stop after this many samples in this night")
    ] = None
    max_tokens: MaxTokens = None
    budget_usd: Budget = None
    total_budget_usd: TotalBudget = None
    target: Annotated[
        float | str | None,
        _stop(
            help="stop when the best score is at least this, or when one program meets conditions such as "
            '"score >= 0.9, seconds <= 1"'
        ),
    ] = None
    patience: Annotated[int | None, _stop(help="stop after this many generations without improvement")] = None
    grace_s: Annotated[
        float | None,
        _stop(name="--grace", help="seconds after the deadline at which a generation is cut short; default: 60"),
    ] = None

    def given(self) -> dict[str, Any]:
        """Return the values that the user gave."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def conditions(self, until: str | None = None) -> StopConditions:
        return stop_conditions(until, **self.given())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NotificationOptions:
    """Addresses that are notified about a night, and when."""

    notify: Annotated[
        list[str] | None,
        _notifications(help="Apprise address to notify when the night ends; repeatable; default: OVERNIGHT_NOTIFY"),
    ] = None
    notify_gain: Annotated[
        float | None, _notifications(help="also notify of a new best, whenever the best score has risen by this much")
    ] = None

    def notifier(self) -> Notifier:
        """Return the notifier of these addresses; raise a UsageError if one, or the rise, is wrong."""
        if self.notify_gain is not None and not math.isfinite(self.notify_gain):
            raise UsageError(
                f"--notify-gain: expected a finite number, got {self.notify_gain}",
                remedy="A rise of the score, for example: --notify-gain 0.5",
            )

        return Notifier(notification_addresses(self.notify), self.notify_gain, lambda text: say(f"warning: {text}"))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Settings that are fixed when a run is created."""

    model: Models = None
    api_base: ApiBase = None
    agent: Annotated[
        list[str] | None,
        _models(
            help="coding agent that works with the first --model in a container, beside its prompts: mini-swe-agent, "
            "or one of your configuration file; for agents alone: --model agent:NAME/MODEL; NAME=WEIGHT; repeatable"
        ),
    ] = None
    style: Style = None
    judge: JudgeName = None
    batch: Annotated[
        bool,
        _models(
            help="send prompts through the provider's Batch API: half the price, completions within a day",
            show_default=False,
        ),
    ] = False
    confirm: Confirm = None
    image: Image = None
    runtime: Runtime = None
    sandbox: Backend = None
    inputs: Inputs = None
    set: Sets = None

    def load(self, path: Path, stop: StopConditions, *, trust: bool) -> tuple[Problem, dict[str, Any]]:
        """Load a problem that can be run with these settings, and accept what it proposes; return it and the overrides.

        A budget in USD requires prices of all models.
        """
        from overnight.tasks.sample.batch_api import require_batches

        settings = overrides(
            self.model,
            self.api_base,
            self.style,
            self.inputs,
            self.set,
            self.batch,
            self.agent,
            self.judge,
            confirm=self.confirm,
            image=self.image,
            runtime=self.runtime,
            backend=self.sandbox,
        )
        problem = load_problem(path, settings)
        say_notes(problem)
        problem = accept(problem, settings, trust=trust)
        require_batches(problem.settings.sampling)
        require_agents(problem.settings)
        require_judge(problem)
        if stop.budget.is_in_usd:
            require_prices(problem.settings.sampling)
        return problem, settings


def stop_conditions(until: str | None, **values: float | str | None) -> StopConditions:
    """Return the stop conditions of `--until`, and of the other flags by their names in `StopConditions`."""
    from pydantic import ValidationError

    deadline = None if until is None else parse_until(until, local_now())
    if deadline is not None:
        say(f"until {deadline:%Y-%m-%d %H:%M %Z}")
    try:
        return StopConditions.model_validate({**values, "until": deadline})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--{flag_of(str(first['loc'][0]))}: {in_words(first, first['input'])}") from error


def overrides(
    models: Sequence[str] | None = None,
    api_base: str | None = None,
    style: str | None = None,
    inputs: str | None = None,
    sets: Sequence[str] | None = None,
    batch: bool = False,
    agents: Sequence[str] | None = None,
    judge: str | None = None,
    **sandbox: str | None,
) -> dict[str, Any]:
    """Return the settings that a command's flags override; `sandbox` are sandbox settings by name."""
    overrides: dict[str, Any] = {}
    for assignment in sets or ():
        set_by_path(overrides, assignment)
    if models:
        _part(overrides, "sampling", "--model")["models"] = [_model(text, api_base, style) for text in models]
    elif api_base or style:
        raise UsageError("--api-base and --style describe a model, but no model is named", remedy="Add --model.")
    if agents:
        listed = _part(overrides, "sampling", "--agent").get("models") or []
        _part(overrides, "sampling", "--agent")["models"] = [*listed, *_agents(agents, listed)]
    if batch:
        _part(overrides, "sampling", "--batch")["batch_api"] = True
    if judge:
        part = _part(overrides, "sampling", "--judge")
        part["judge"] = judge_entry(judge, part.get("models") or (), api_base)
    for name, value in sandbox.items():
        if value is not None:
            _part(overrides, "sandbox", "--sandbox" if name == "backend" else f"--{name}")[name] = value
    if inputs is not None:
        overrides["inputs"] = _json(inputs)
    return overrides


def _part(overrides: dict[str, Any], name: str, flag: str) -> dict[str, Any]:
    """Return a part of the settings, to which a flag adds."""
    part = overrides.setdefault(name, {})
    if not isinstance(part, dict):
        raise UsageError(
            f"{flag} changes a setting in {name}, and --set {name}={part} gives {name} a value that is no table",
            remedy=f"Name one setting of it: --set {name}.KEY=VALUE",
        )
    return cast("dict[str, Any]", part)


def _model(text: str, api_base: str | None, style: str | None) -> dict[str, Any]:
    name, separator, weight = text.rpartition("=")
    if not separator:
        name, weight = text, "1"
    if name.startswith("relay:"):
        name = f"relay:{os.path.abspath(name.removeprefix('relay:'))}"  # a resumed night finds it from anywhere
    default_style = "completion" if name.startswith("builtin/") else "chat"
    model = {"name": name, "weight": weight, "style": style or default_style}
    if api_base:
        require_address(api_base)
        model["api_base"] = api_base
    return model


def _agents(names: Sequence[str], models: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the entries of agents in the list of models: each works with the first model, whatever that has beside."""
    if not models or not isinstance(models[0], dict):
        raise UsageError("--agent names no model for the agent to work with", remedy="Add --model openai/gpt-5-mini.")
    first = models[0]
    agents = [text.rpartition("=") if "=" in text else (text, "", "1") for text in names]
    return [
        {**first, "style": "chat", "name": f"agent:{name}/{first['name']}", "weight": weight}
        for name, _, weight in agents
    ]


def _json(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UsageError(f"--inputs takes JSON, got {text!r}: {error}", remedy=_inputs_remedy(text)) from error


def _inputs_remedy(text: str) -> str:
    """Return how to write inputs, with the files that a text names."""
    files = re.findall(r"[^\s\[\]\"',]+\.json", text)
    if not files:
        return "It is quoted for the shell, for example: --inputs '[8]'"
    value = shlex.quote(json.dumps(files))
    return f"Files in the problem's folder are named in a list, quoted for the shell: --inputs {value}"
