"""Settings of the models and of their requests."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from overnight.schemas.agent_settings import AGENT, split_agent
from overnight.schemas.errors import UsageError
from overnight.schemas.section import Section, as_list

BUILTIN = "builtin/"
ON_THE_HOST = {
    "command:": "a command of yours is run with your rights, and given the prompts",
    "relay:": "a folder of yours is written, and given the prompts",
}
"""Beginnings of names of models that are something on this machine, with what that does: only the user can name one."""

ANSWER_ONCE = (*ON_THE_HOST, AGENT)
"""Beginnings of names of models of which one answer to a prompt is asked: a second one would often be the same."""

OURS = (BUILTIN, *ON_THE_HOST)
"""Beginnings of the names of models that Overnight's own providers answer for, which are modules of that name."""


def _as_model(value: Any) -> Any:
    """Expand the short forms `"gpt-5"` and `"gpt-5=2"` to a table."""
    if not isinstance(value, str):
        return value
    name, separator, weight = value.rpartition("=")
    return {"name": name, "weight": weight} if separator else {"name": value}


def require_address(address: str) -> None:
    """Raise a UsageError unless the address of a model's server says how it is reached, with `http` and a host.

    Stored runs are not checked: one with a wrong address can be read still.
    """
    try:
        parts = urlsplit(address)
        is_complete = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # such as half of an IPv6 address
        parts, is_complete = urlsplit(""), False
    if is_complete:
        return
    likely = "" if parts.scheme in ("http", "https") or "://" in address else f", such as http://{address.lstrip('/')}"
    raise UsageError(
        f"api_base {address!r} is not the address of a server",
        remedy=f"It begins with http:// or https://{likely or ', such as http://127.0.0.1:8000/v1'}",
    )


class Model(Section):
    """A model of the weighted list."""

    name: str
    """model string, as for `--model`"""
    weight: float = Field(default=1.0, gt=0)
    """relative share of the prompts"""
    api_base: str | None = None
    """address of an OpenAI-compatible server"""
    style: Literal["chat", "completion"] = "chat"
    """style of the prompts, `chat` or `completion`"""
    input_usd: float | None = Field(default=None, ge=0)
    """price of a million prompt tokens, USD; for models whose price LiteLLM does not know or has wrong"""
    output_usd: float | None = Field(default=None, ge=0)
    """price of a million completion tokens, USD; given together with `input_usd`"""
    cached_usd: float | None = Field(default=None, ge=0)
    """price of a million prompt tokens that the provider reads from its cache, USD; given only with `input_usd`,
    which it is by default"""
    rpm: float | None = Field(default=None, gt=0)
    """rate limit, requests per minute; further requests wait"""
    tpm: float | None = Field(default=None, gt=0)
    """rate limit, prompt and completion tokens per minute; further requests wait"""
    fallbacks: Annotated[
        tuple[Annotated[Model, BeforeValidator(_as_model)], ...], BeforeValidator(as_list), Field(max_length=20)
    ] = ()
    """models of the same style that are asked, in order, when this one fails to answer"""

    @property
    def agent(self) -> str:
        """Name of the agent that works with the model; empty where the model is sent prompts."""
        return split_agent(self.name)[0]

    @property
    def asked(self) -> Model:
        """The language model itself, where an agent works with it."""
        return self.model_copy(update={"name": split_agent(self.name)[1]}) if self.agent else self

    @model_validator(mode="after")
    def _is_consistent(self) -> Model:
        if self.name.startswith(AGENT) and not all(split_agent(self.name)):
            raise ValueError(f"{self.name!r}: expected agent:NAME/MODEL, such as agent:mini-swe-agent/openai/gpt-5")
        if self.agent and self.style != "chat":
            raise ValueError(f"{self.name}: an agent needs a model of style `chat`")
        if any(not text.isprintable() or " " in text for text in (self.name, self.api_base or "")):
            raise ValueError(f"{self.name!r}: a name or an address must not contain blanks")
        if (self.input_usd is None) != (self.output_usd is None):
            raise ValueError(f"{self.name}: input_usd and output_usd must be given together")
        if self.cached_usd is not None and self.input_usd is None:
            raise ValueError(f"{self.name}: cached_usd must be given together with input_usd and output_usd")
        for fallback in self.fallbacks:
            if fallback.fallbacks:
                raise ValueError(
                    f"{fallback.name} is a fallback and has fallbacks; list them in order with {self.name}"
                )
            if fallback.style != self.style:
                raise ValueError(f"{fallback.name} gets the prompts of {self.name}: its style must be {self.style}")
        return self


class Sampling(Section):
    """Models and the limits of their requests, `[tool.overnight.sampling]`."""

    models: Annotated[
        tuple[Annotated[Model, BeforeValidator(_as_model)], ...],
        BeforeValidator(as_list),
        Field(min_length=1, max_length=100),
    ] = (Model(name="builtin/mutate", style="completion"),)
    """models and their weights"""
    judge: Annotated[Model | None, BeforeValidator(_as_model)] = None
    """model that the scoring asks by `funsearch.ask`, which only your flags and your configuration file can name:
    `--judge`; default: none"""
    temperature: float | None = Field(default=1.0, ge=0)
    """sampling temperature; unset: the provider's default"""
    top_p: float | None = Field(default=0.95, gt=0, le=1)
    """probability mass of nucleus sampling; unset: the provider's default"""
    max_tokens: int | None = Field(default=16_384, ge=1)
    """maximum length of a completion, tokens"""
    concurrency: int | None = Field(default=None, ge=1, le=10_000)
    """number of samples in flight, asked for or being evaluated: a prompt is built from the results of all samples
    but the last so many, in order; a larger number keeps more models and slots busy, a smaller one learns sooner;
    default: 8 where stop conditions allow a night at most 5,000 samples, else 16, and 4 once answers take a minute; on
    a cluster two for each slot, 16 at least"""
    timeout_s: float = Field(default=600.0, gt=0, le=86_400)
    """timeout of one request, seconds"""
    attempts: int = Field(default=4, ge=1, le=1_000)
    """maximum number of requests for one sample"""
    batch: int | None = Field(default=None, ge=1, le=10_000)
    """number of prompts that are sampled together, at most a quarter of those in flight; their candidates are
    evaluated once all have arrived; default: 4, or an eighth of those in flight where that is more, and all that are
    due where answers and verdicts come at once"""
    batch_api: bool = False
    """whether prompts are sent through the provider's Batch API, which answers within a day, mostly at half price"""
    batch_generations: int = Field(default=8, ge=1, le=100)
    """with `batch_api`: number of generations whose prompts are sent at once; all of them are built from the
    population before the first, and `concurrency` is ignored"""

    @property
    def has_agents(self) -> bool:
        return any(model.agent for model in self.models)

    @property
    def prompted(self) -> tuple[Model, ...]:
        """Models among which those of prompts are chosen: agents are among them where there is nothing else."""
        return tuple(model for model in self.models if not model.agent) or self.models

    @property
    def beside(self) -> tuple[Model, ...]:
        """Agents that work beside prompts, each session of which is a generation of its own."""
        return tuple(model for model in self.models if model not in self.prompted)

    @model_validator(mode="after")
    def _names_each_model_once(self) -> Sampling:
        names = [model.name for model in self.models]
        if self.batch_api and self.has_agents:
            raise ValueError("an agent asks its model turn by turn, which the Batch API cannot: leave one of them out")
        if self.judge is not None and self.judge.agent:
            raise ValueError(f"{self.judge.name}: a scoring asks a model, not an agent")
        if repeated := {name for name, count in Counter(names).items() if count > 1}:
            raise ValueError(f"{', '.join(sorted(repeated))} is named twice; a second address can be a fallback")
        return self
