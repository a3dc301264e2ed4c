"""Read the user's configuration file: settings of models and sandboxes for all problems, the cluster, plug-ins.

All functions raise `UsageError` if the file is not TOML, has another section, or a setting in it is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, RootModel, ValidationError

from overnight.schemas.agent_settings import PRESETS as AGENT_PRESETS
from overnight.schemas.agent_settings import Agents, AgentSettings
from overnight.schemas.command_settings import PRESETS, Commands, CommandSettings
from overnight.schemas.errors import UsageError
from overnight.schemas.sampling_settings import ANSWER_ONCE
from overnight.schemas.section import Section, as_list
from overnight.schemas.settings import Sandbox, parse_settings
from overnight.tasks.program.bounded_parsing import parse_toml
from overnight.tasks.program.config_layers import merge
from overnight.tasks.program.problem_folder import read_given_text

VARIABLE = "OVERNIGHT_CONFIG"
"""Environment variable with the path of the file; the default is `overnight/config.toml` in XDG_CONFIG_HOME, or in
`~/.config`."""

SECTIONS = ("sampling", "sandbox")
"""Sections that the user decides for a machine; all other settings belong to a problem."""

S = TypeVar("S", bound=BaseModel)


class ClusterSettings(Section):
    """The cluster of a user, `[cluster]` in the configuration file; no problem and no run has these settings."""

    address: str = Field(
        default="",
        description="cluster that nights evaluate on, such as `tls://head:8786`, or `local:N` for a try; the flag "
        "`--cluster` and the variable OVERNIGHT_CLUSTER come first",
    )
    certificates: str = Field(
        default="",
        description="folder of the certificates, relative to the configuration file; the variable "
        "OVERNIGHT_CLUSTER_CERTIFICATES comes first",
    )


class PluginSettings(Section):
    """Plug-ins that a user has switched on, `[plugins]` in the configuration file."""

    problem_formats: tuple[str, ...] = Field(
        default=(),
        description="names of problem formats of plug-ins, which are asked in this order after those of Overnight",
    )


OF_THE_USER: dict[str, type[BaseModel]] = {
    "agents": Agents, "cluster": ClusterSettings, "commands": Commands, "plugins": PluginSettings
}  # fmt: skip
"""Sections of which no problem and no run has settings."""


def config_path() -> Path:
    """Return the path of the file, which need not exist."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder, "overnight", "config.toml")


def user_settings() -> dict[str, Any]:
    """Read the settings that hold for all problems, nested as in TOML; empty if there is no file."""
    settings = _read(config_path())
    return {name: table for name, table in settings.items() if name in SECTIONS}


def user_layers(flags: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what overrides the settings of a problem's files, in three layers; the last are the user's file and flags.

    The first asks for one answer to each prompt where the user names a folder, a command or an agent as a model.
    """
    layers = [user_settings(), flags]
    sampling = merge(layers).get("sampling")
    models = sampling.get("models", ()) if isinstance(sampling, dict) else ()
    names = [one.get("name") if isinstance(one, dict) else one for one in as_list(models)]
    answers_once = any(isinstance(name, str) and name.startswith(ANSWER_ONCE) for name in names)
    return [{"search": {"samples": 1}} if answers_once else {}, *layers]


def user_models() -> dict[str, dict[str, Any]]:
    """Read the entries of the models that the file lists, by their names; empty if it lists none."""
    sampling = user_settings().get("sampling", {})
    if "models" not in sampling:
        return {}
    models = parse_settings({"sampling": sampling}, str(config_path())).sampling.models
    return {model.name: model.model_dump(mode="json", exclude_unset=True) for model in models}


def user_sandbox() -> Sandbox:
    """Read the user's settings of sandboxes, which hold for problems without their own."""
    return parse_settings({"sandbox": user_settings().get("sandbox", {})}, str(config_path())).sandbox


def user_cluster() -> ClusterSettings:
    """Read the cluster that the file names; its address is empty if there is none."""
    path = config_path()
    cluster = ClusterSettings.model_validate(_read(path).get("cluster", {}))
    if not cluster.certificates:
        return cluster
    folder = path.resolve().parent / Path(cluster.certificates).expanduser()
    return cluster.model_copy(update={"certificates": str(folder)})


def user_problem_formats() -> tuple[str, ...]:
    """Read the names of the problem formats of plug-ins that the user has switched on."""
    return PluginSettings.model_validate(_read(config_path()).get("plugins", {})).problem_formats


def user_command(name: str) -> CommandSettings:
    """Read the command of a name, or return the preset that has it; one of the two must be there."""
    return _named("command", name, Commands, PRESETS, CommandSettings)


def user_agent(name: str) -> AgentSettings:
    """Read the agent of a name, or return the preset that has it; one of the two must be there."""
    return _named("agent", name, Agents, AGENT_PRESETS, AgentSettings)


def _named(kind: str, name: str, table: type[RootModel[dict[str, S]]], presets: Mapping[str, Any], one: type[S]) -> S:
    own = table.model_validate(_read(config_path()).get(f"{kind}s", {})).root
    if name in own:
        return own[name]
    if name in presets:
        return one.model_validate({"preset": name})
    known = ", ".join([*own, *(each for each in presets if each not in own)])
    raise UsageError(
        f"there is no {kind} {name!r}; expected one of {known}",
        remedy=f"Define it in {config_path()}: [{kind}s.{name}] with command = [...]; schemas/README.md says more.",
    )


def _read(path: Path) -> dict[str, Any]:
    """Read and check the file, if it exists; it may be a link, as dotfiles often are."""
    if not path.exists():
        return {}
    try:
        settings = parse_toml(read_given_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: not valid TOML: {error}", remedy="Correct the file.") from error
    if unknown := sorted(settings.keys() - {*SECTIONS, *OF_THE_USER}):
        raise UsageError(
            f"{path}: `{unknown[0]}` cannot be set for all problems; expected [sampling], [sandbox], [cluster], "
            "[agents.NAME], [commands.NAME] or [plugins]",
            remedy="Set it in the problem's own file, or with --set.",
        )
    parse_settings({name: settings[name] for name in SECTIONS if name in settings}, str(path))
    for name in settings.keys() & OF_THE_USER.keys():
        _check(name, settings[name], path)
    return settings


def _check(name: str, table: Any, path: Path) -> None:
    kind = OF_THE_USER[name]
    try:
        kind.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (name, *first["loc"])))
        fields = {Commands: CommandSettings, Agents: AgentSettings}.get(kind, kind).model_fields
        raise UsageError(
            f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}",
            remedy=f"[{name}] has {' and '.join(fields)}: schemas/README.md, `Your configuration file`.",
        ) from error
