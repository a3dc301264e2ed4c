"""Find the settings that reach outside of the sandbox: addresses that get keys, prices, images, runtimes, downloads,
code of plug-ins, and the sandbox backend itself.

A problem's files and a history may come from strangers. Their values of these settings are proposals, which take effect
once the user has given or accepted them (`flows/start/trust.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.requirements import Requirement

from overnight.schemas import plugins
from overnight.schemas.algorithm_settings import AnyAlgorithm, plugin_of
from overnight.schemas.dependencies import Dependencies, read_dependencies
from overnight.schemas.sampling_settings import ON_THE_HOST, Model, Sampling
from overnight.schemas.settings import Sandbox, parse_settings

_PLAIN_NAME = re.compile(r"[\w.@+-]+(/[\w.@+-]+(:[\w.+-]+)*)*(:[\w.+-]+)*")
"""Names of models without an address: LiteLLM uses some names as one (`huggingface/https://…`, `bedrock/arn:…`)."""

_DOTS = re.compile(r"(?:^|/)\.\.?(?=[/:]|$)")
"""Relative parts of a name, which lead to another address at the provider: LiteLLM puts names into request paths."""

_LOGINS = ("github_copilot/", "chatgpt/")
"""Providers for which LiteLLM uses the user's login on this machine, or starts one."""


@dataclass(frozen=True, order=True)
class Proposal:
    """A setting that reaches outside of the sandbox.

    Two proposals are equal if setting and value are.

    Attributes:
        setting: Dotted name of the setting, or `dependencies`.
        value: Proposed value, as text.
        must_be_named: Whether only the user can choose the value, by name: `--trust-settings` does not accept it.
    """

    setting: str
    value: str
    effect: str = field(compare=False)
    must_be_named: bool = field(default=False, compare=False)


def model_proposals(sampling: Sampling) -> list[Proposal]:
    """Return the judge, and the addresses, logins, prices and plug-ins that models and their fallbacks propose."""
    judges = [sampling.judge] if sampling.judge else []
    models = [model for listed in (*sampling.models, *judges) for model in (listed, *listed.fallbacks)]
    effect = "questions of the scoring are sent to this model, at your cost"
    asked = [Proposal("sampling.judge", judge.name, effect, must_be_named=True) for judge in judges]
    return list(dict.fromkeys([*asked, *(proposal for model in models for proposal in _proposals_of(model))]))


def algorithm_proposals(algorithm: AnyAlgorithm) -> list[Proposal]:
    """Return the proposal of an algorithm whose code is of a plug-in."""
    return _proposals_of_plugin("search.algorithm", plugin_of(algorithm), "decides which programs are shown and kept")


def _proposals_of_plugin(setting: str, plugin: plugins.Plugin | None, does: str) -> list[Proposal]:
    if plugin is None:
        return []
    effect = f"code of the package {plugin.package} {does}, with all your rights"
    return [Proposal(setting, f"{plugin.name} of {plugin.package}", effect)]


def sandbox_proposals(sandbox: Sandbox, dependencies: Dependencies) -> list[Proposal]:
    """Return the image and the runtime, unless they are the default, and packages that name a URL."""
    found = []
    if sandbox.image != Sandbox().image:
        found.append(Proposal("sandbox.image", sandbox.image, "programs run in this image"))
    if sandbox.runtime is not None:
        found.append(Proposal("sandbox.runtime", sandbox.runtime, "containers are run by this runtime"))
    effect = "this file is downloaded and put into the image"
    with_url = [package for package in dependencies.packages if Requirement(package).url]
    return found + [Proposal("dependencies", package, effect) for package in with_url]


def backend_proposal(sandbox: Sandbox) -> list[Proposal]:
    """Return the sandbox backend, unless it is the default: it decides whether programs are confined at all."""
    effect = "programs are confined as this backend does it, or not at all"
    is_default = sandbox.backend == Sandbox().backend
    return [] if is_default else [Proposal("sandbox.backend", sandbox.backend, effect, must_be_named=True)]


def given_proposals(given: Mapping[str, Any]) -> list[Proposal]:
    """Return the proposals within settings that the user gave, nested as in TOML, and thereby accepted."""
    named = given.get("search", {}).get("algorithm", {})
    named = named.get("name", {}) if isinstance(named, Mapping) else named
    given = {name: table for name, table in given.items() if name in ("sampling", "sandbox", "dependencies")}
    settings = parse_settings({**given, "search": {"algorithm": named}}, "given settings")
    dependencies = read_dependencies({"given settings": {"dependencies": list(settings.dependencies)}})
    return [
        *model_proposals(settings.sampling),
        *algorithm_proposals(settings.search.algorithm),
        *backend_proposal(settings.sandbox),
        *sandbox_proposals(settings.sandbox, dependencies),
    ]


def _proposals_of(model: Model) -> Iterator[Proposal]:
    model = model.asked
    if model.api_base is not None:
        effect = f"prompts, and the key for {model.name} if there is one, are sent to {model.api_base}"
        yield Proposal("sampling.models", f"{model.name} at {model.api_base}", effect)
    on_the_host = next((prefix for prefix in ON_THE_HOST if model.name.startswith(prefix)), None)
    if on_the_host is not None:
        yield Proposal("sampling.models", model.name, ON_THE_HOST[on_the_host], must_be_named=True)
    elif not _PLAIN_NAME.fullmatch(model.name) or "arn:" in model.name or _DOTS.search(model.name):
        yield Proposal("sampling.models", model.name, "prompts, and a key, are sent to the address in this name")
    prefix, separator, _ = model.name.partition("/")
    if separator and prefix != "builtin":
        plugin = plugins.find("providers", prefix)
        yield from _proposals_of_plugin("sampling.models", plugin, "sends the prompts and receives the answers")
    if model.name.lower().startswith(_LOGINS):
        yield Proposal("sampling.models", model.name, "prompts are sent with your own login at this provider")
    if model.input_usd is not None and not model.name.startswith("builtin/"):
        cached = "" if model.cached_usd is None else f", {model.cached_usd:g} from a cache"
        price = f"{model.name} for {model.input_usd:g} and {model.output_usd:g} USD{cached}"
        yield Proposal("sampling.models", price, "budgets count a million tokens, in and out, at this price")
