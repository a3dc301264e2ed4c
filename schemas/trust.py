"""Settings that reach outside of the sandbox: addresses that get keys, prices, images, runtimes, downloads.

A problem's files and a history may come from strangers. What they say of these settings is a proposal, which counts
once the user has named or accepted it (`flows/trust.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.requirements import Requirement

from schemas.dependencies import Dependencies
from schemas.settings import Model, Sampling, Sandbox, parse_settings

_PLAIN_NAME = re.compile(r"[\w.@+-]+(/[\w.@+-]+(:[\w.+-]+)*)*(:[\w.+-]+)*")
"""A model's name that holds no address: LiteLLM takes some names for one (`huggingface/https://…`, `bedrock/arn:…`)."""

_DOTS = re.compile(r"(?:^|/)\.\.?(?=[/:]|$)")
"""A part of a name that leads to another address at the provider: LiteLLM puts names into the paths of requests."""

_LOGINS = ("github_copilot/", "chatgpt/")
"""Providers for which LiteLLM uses the login of a person, kept on this machine, or begins one."""


@dataclass(frozen=True, order=True)
class Proposal:
    """One setting that reaches outside of the sandbox.

    Attributes:
        setting: Its dotted name, or `dependencies`.
        value: What is to be accepted, as text; two proposals are equal if setting and value are.
        effect: What happens once it is accepted, for people.
    """

    setting: str
    value: str
    effect: str = field(compare=False)


def model_proposals(sampling: Sampling) -> list[Proposal]:
    """Addresses to which prompts and keys would be sent, of models and their fallbacks."""
    models = [one for model in sampling.models for one in (model, *model.fallbacks)]
    return list(dict.fromkeys(proposal for model in models for proposal in _of_model(model)))


def sandbox_proposals(sandbox: Sandbox, needs: Dependencies) -> list[Proposal]:
    """The image and the runtime where they are not the default, and packages that are fetched from an address."""
    found = []
    if sandbox.image != Sandbox().image:
        found.append(Proposal("sandbox.image", sandbox.image, "programs run in this image"))
    if sandbox.runtime is not None:
        found.append(Proposal("sandbox.runtime", sandbox.runtime, "containers are run by this runtime"))
    addressed = [package for package in needs.packages if Requirement(package).url]
    return found + [
        Proposal("dependencies", one, "this file is downloaded and put into the image") for one in addressed
    ]


def given_proposals(given: Mapping[str, Any]) -> list[Proposal]:
    """The proposals within settings that the user gave, nested as in TOML: they are accepted by being given.

    Raises:
        UsageError: If a setting is wrong.
    """
    given = {name: table for name, table in given.items() if name in ("sampling", "sandbox")}
    settings = parse_settings(given, "given settings")
    return [*model_proposals(settings.sampling), *sandbox_proposals(settings.sandbox, Dependencies())]


def _of_model(model: Model) -> Iterator[Proposal]:
    if model.api_base is not None:
        effect = f"prompts, and the key for {model.name} if there is one, are sent to {model.api_base}"
        yield Proposal("sampling.models", f"{model.name} at {model.api_base}", effect)
    if not _PLAIN_NAME.fullmatch(model.name) or "arn:" in model.name or _DOTS.search(model.name):
        yield Proposal("sampling.models", model.name, "prompts, and a key, are sent to the address in this name")
    if model.name.lower().startswith(_LOGINS):
        yield Proposal("sampling.models", model.name, "prompts are sent with your own login at this provider")
    if model.input_usd is not None and not model.name.startswith("builtin/"):
        price = f"{model.name} for {model.input_usd:g} and {model.output_usd:g} USD"
        yield Proposal("sampling.models", price, "budgets count a million tokens, in and out, at this price")
