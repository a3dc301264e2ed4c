"""Command-line flags that several commands share: stop conditions, settings and notifications."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from cyclopts import Group, Parameter

from overnight.flows.cli.printing import say, say_notes
from overnight.flows.night.deadlines import local_now, parse_until
from overnight.flows.night.notifications import Notifier, notification_addresses
from overnight.flows.night.stop_conditions import NightlyConditions, StopConditions, flag_of
from overnight.flows.start.judging import judge_entry, require_judge
from overnight.flows.start.sandboxes import require_agents
from overnight.flows.start.trust import accept
from overnight.schemas.agent_settings import split_agent
from overnight.schemas.errors import UsageError
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import require_address
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.bounded_parsing import parse_json
from overnight.tasks.program.config_layers import set_by_path
from overnight.tasks.program.user_config import config_path, user_models
from overnight.tasks.sample.provider import require_prices

_models = Parameter(group=Group("Models", sort_key=2))
_evaluation = Parameter(group=Group("Evaluation", sort_key=3))
_notifications = Parameter(group=Group("Notifications", sort_key=4))

ProblemName = Annotated[str, Parameter(help="a name from `overnight problems`, a specification file, or a directory")]
RunId = Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`; a problem's name is its last run")]
AnyRun = Annotated[str | None, Parameter(help="a run id, a unique prefix of one, or `last`; default: all runs")]

ModelNames = Annotated[list[str] | None, _models]
ApiBase = Annotated[str | None, _models, Parameter(help="address of an OpenAI-compatible server for these models")]
JudgeName = Annotated[
    str | None, _models, Parameter(help="model that the scoring asks, where it asks one by funsearch.ask")
]
Style = Annotated[str | None, _models, Parameter(help="how prompts are written: `chat` or `completion`")]

Confirm = Annotated[
    Literal["never", "best", "always"] | None,
    _evaluation,
    Parameter(help="which programs must repeat their score, isolated, in a fresh container; default: best"),
]
Inputs = Annotated[str | None, _evaluation, Parameter(help="training inputs as JSON, instead of the specification's")]
ClusterName = Annotated[
    str | None,
    _evaluation,
    Parameter(
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
    ),
]
NightFormat = Annotated[
    Literal["text", "json"],
    Parameter(name="--format", help="json: a line of JSON for each generation on stdout, for programs; no summary"),
]

_stop = Parameter(group=Group("Stop conditions (the first one that is met ends the night)", sort_key=1))

NO_CONDITIONS = NightlyConditions()
Stop = Annotated[NightlyConditions, Parameter(name="*", name_transform=flag_of), _stop]
Until = Annotated[
    str | None,
    _stop,
    Parameter(help=StopConditions.model_fields["until"].description),
]
UntilEveryNight = Annotated[
    str | None,
    _stop,
    Parameter(name="--until", help="stop each night at a time of day or after a duration: 07:00, 7h30m"),
]


def conditions_of_night(stop: NightlyConditions, until: str | None) -> StopConditions:
    """Return the stop conditions of a night that begins now, and say when `--until` is."""
    deadline = None if until is None else parse_until(until, local_now())
    if deadline is not None:
        say(f"until {deadline:%Y-%m-%d %H:%M %Z}")
    return stop.with_deadline(deadline)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NotificationOptions:
    """Addresses that are notified about a night, and when."""

    notify: Annotated[list[str] | None, _notifications] = None
    """Apprise address to notify when the night ends; repeatable; default: OVERNIGHT_NOTIFY"""
    notify_gain: Annotated[float | None, _notifications] = None
    """also notify of a new best, whenever the best score has risen by this much"""

    def notifier(self) -> Notifier:
        """Return the notifier of these addresses; raise a UsageError if one, or the rise, is wrong."""
        if self.notify_gain is not None and not math.isfinite(self.notify_gain):
            raise UsageError(
                f"--notify-gain: expected a finite number, got {self.notify_gain}",
                remedy="A rise of the score, for example: --notify-gain 0.5",
            )

        return Notifier(notification_addresses(self.notify), self.notify_gain, lambda text: say(f"warning: {text}"))


NO_NOTIFICATIONS = NotificationOptions()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Settings that are fixed when a run is created."""

    model: ModelNames = None
    """LiteLLM model string, command:NAME of your configuration file, or relay:FOLDER; what your configuration file says
    of it holds; NAME=WEIGHT sets its share of the prompts; repeatable"""
    api_base: ApiBase = None
    agent: Annotated[list[str] | None, _models] = None
    """coding agent that works with the first --model, or the first of your configuration file, in a container, beside
    prompts, which wait for none: mini-swe-agent, pi, or one of your file; agents alone: --model agent:NAME/MODEL;
    repeatable"""
    style: Style = None
    judge: JudgeName = None
    batch: Annotated[bool, _models] = False
    """send prompts through the provider's Batch API: half the price, completions within a day"""
    confirm: Confirm = None
    image: Annotated[str | None, _evaluation] = None
    """container image with python3 that the engine already has; nothing is pulled"""
    runtime: Annotated[str | None, _evaluation] = None
    """container runtime that the engine knows, such as runsc"""
    sandbox: Annotated[str | None, _evaluation] = None
    """where candidates run: docker, or process for a try without an engine, hardly confined"""
    inputs: Inputs = None
    set: Sets = None

    def load(self, path: Path, stop: NightlyConditions, *, trust: bool) -> tuple[Problem, dict[str, Any]]:
        """Load a problem that can be run with these settings, and accept what it proposes; return it and the settings.

        A budget in USD requires prices of all models.
        """
        from overnight.tasks.sample.batch_api import require_batches

        given = self.settings()
        problem = load_problem(path, given)
        say_notes(problem)
        problem = accept(problem, given, trust=trust)
        require_batches(problem.settings.sampling)
        require_agents(problem.settings)
        require_judge(problem)
        if stop.budget.is_in_usd:
            require_prices(problem.settings.sampling)
        return problem, given

    def settings(self) -> dict[str, Any]:
        """Return the settings that these flags give, as files have them."""
        given: dict[str, Any] = {}
        for assignment in self.set or ():
            set_by_path(given, assignment)
        if self.model:
            models = [_model(text, self.api_base, self.style) for text in self.model]
            _part(given, "sampling", "--model")["models"] = models
        elif self.api_base or self.style:
            raise UsageError("--api-base and --style describe a model, but no model is named", remedy="Add --model.")
        if self.agent:
            listed = _part(given, "sampling", "--agent").get("models") or [*user_models().values()]
            agents = _agents(self.agent, listed)
            names = {one["name"] for one in agents}
            others = [one for one in listed if not (isinstance(one, dict) and one["name"] in names)]
            _part(given, "sampling", "--agent")["models"] = [*others, *agents]
        if self.batch:
            _part(given, "sampling", "--batch")["batch_api"] = True
        if self.judge:
            part = _part(given, "sampling", "--judge")
            part["judge"] = judge_entry(self.judge, part.get("models") or (), self.api_base)
        for flag, name in _SANDBOX.items():
            if (value := getattr(self, flag)) is not None:
                _part(given, "sandbox", f"--{flag}")[name] = value
        if self.inputs is not None:
            given["inputs"] = _json(self.inputs)
        return given


NO_SETTINGS = RunOptions()

_SANDBOX = {"confirm": "confirm", "image": "image", "runtime": "runtime", "sandbox": "backend"}
"""Settings of the section `sandbox` by the names of their flags."""


def _part(given: dict[str, Any], name: str, flag: str) -> dict[str, Any]:
    """Return a part of the settings, to which a flag adds."""
    part = given.setdefault(name, {})
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
    model = {"style": default_style, "weight": weight, **_entry(name), "name": name}
    if separator:
        model["weight"] = weight
    if style:
        model["style"] = style
    if api_base:
        require_address(api_base)
        model["api_base"] = api_base
    return model


def _entry(name: str) -> dict[str, Any]:
    """Return what the configuration file says of a model; of an agent's without an entry, what it says of the model."""
    known, (agent, model) = user_models(), split_agent(name)
    entry = known.get(name) or known.get(model) or {}
    return {**entry, "style": "chat"} if agent else entry


def _agents(names: Sequence[str], models: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the entries of agents in the list of models: each works with the first model that is no agent's.

    Its entry is its own of the configuration file, else that of its model, whatever that has beside.
    """
    asked = [one for one in models if isinstance(one, dict) and not split_agent(one["name"])[0]]
    if not asked:
        raise UsageError(
            "--agent names no model for the agent to work with, and your configuration file lists none",
            remedy=f"Add --model openai/gpt-5-mini, or [sampling] models = [...] to {config_path()}.",
        )
    known, first = user_models(), asked[0]
    agents = [f"agent:{name}/{first['name']}" for name in names]
    return [{**first, **known.get(name, {}), "style": "chat", "name": name} for name in agents]


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
