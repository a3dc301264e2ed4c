"""Choose the provider of each model, and ask it: keys, prices, requests.

A model belongs to the provider that the first part of its name names: ours, LiteLLM's, or a plug-in of the kind
`providers`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import re
import threading
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from overnight.schemas import plugins
from overnight.schemas.errors import EnvironmentFault, TransientProviderError, UsageError
from overnight.schemas.program import Prompt
from overnight.schemas.sampling_settings import BUILTIN, OURS, Model, Sampling, require_address
from overnight.tasks.sample.providers import Answer, Choice, Price, Provider, Usage, check_usage, rough_tokens
from overnight.tasks.sample.running_time import RunningTimeLoop

_PREFIX = re.compile(r"\w+[:/]")
_MILLION = 1_000_000

T = TypeVar("T")

_loading = threading.RLock()
_loaded: dict[str, Provider] = {}


@dataclass(frozen=True, slots=True)
class Turn:
    """A model's answer to an agent.

    Attributes:
        message: The message, in OpenAI's form, with its tool calls.
        model: The model that answered.
        refusal: Why there is no message; empty if there is one.
    """

    message: Mapping[str, Any]
    finish_reason: str
    usage: Usage
    model: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """A model's response to one request: at least one choice, and the tokens and cost."""

    choices: tuple[Choice, ...]
    usage: Usage


def provider_of(name: str) -> Provider:
    """Return the provider of a model, which is made once."""
    key = own_provider(name) or "litellm"
    with _loading:
        if key not in _loaded:
            plugin = provider_plugin(name)
            module = f"overnight.tasks.sample.providers.{key}"
            _loaded[key] = plugin.load("create")() if plugin else import_module(module).create()
        return _loaded[key]


def own_provider(name: str) -> str | None:
    """Return the name of a model's provider if it is one that LiteLLM does not know."""
    prefix = _PREFIX.match(name)
    if prefix and prefix[0] in OURS:
        return prefix[0].rstrip(":/")
    return name.partition("/")[0] if provider_plugin(name) else None


def provider_plugin(name: str) -> plugins.Plugin | None:
    """Return the plug-in that is a model's provider; `None` if Overnight or LiteLLM knows the provider."""
    prefix, separator, _ = name.partition("/")
    found = plugins.find("providers", prefix) if separator and f"{prefix}/" != BUILTIN else None
    if found is None:
        return None
    from overnight.tasks.sample.providers.litellm import knows_provider

    return None if knows_provider(prefix) else found


def load_providers(settings: Sampling) -> None:
    """Load the providers of all configured models, which may take seconds."""
    for model in every_model(settings):
        provider_of(model.name)


async def send_request(model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Response:
    """Send one request, without retries.

    The model is a fallback if it is not the prompt's own.

    Raises:
        TransientProviderError: If a retry may help.
        TerminalProviderError: If a retry cannot help; PromptRefused if the request itself is at fault.
    """
    provider = provider_of(model.name)
    sent = provider.send(model, prompt, settings, samples=samples, seed=seed)
    answer = await _within(provider.timeout_s(model, settings), sent, model)
    if not answer.choices:
        raise TransientProviderError(f"{model.name} returned a response without choices")
    return _response(answer, model, prompt.whole_text, samples)


async def send_turn(model: Model, request: Mapping[str, Any], settings: Sampling) -> Turn:
    """Send an agent's request, in OpenAI's form, without retries.

    Raises:
        TransientProviderError, TerminalProviderError: As for `send_request`.
    """
    from overnight.tasks.sample.providers.litellm import converse

    message, reason, reported = await _within(settings.timeout_s, converse(model, request, settings), model)
    prompt, answer = json.dumps(request), json.dumps(message)
    counted = (rough_tokens(prompt), rough_tokens(answer))
    usage = check_usage(reported, prompt, [answer], price=price_of(model), counted=counted)
    return Turn(message, reason, usage, model.name)


async def _within(limit_s: float | None, sent: Awaitable[T], model: Model) -> T:
    try:
        # The client's own time-out never ends a response that arrives byte by byte.
        async with asyncio.timeout(limit_s):
            return await sent
    except TimeoutError as error:
        raise TransientProviderError(f"{model.name}: no complete response in {limit_s:g} s") from error


def _response(answer: Answer, model: Model, prompt: str, samples: int) -> Response:
    choices = answer.choices[:samples]
    texts = [choice.text for choice in choices]
    counted = (rough_tokens(prompt), rough_tokens("".join(texts)))
    return Response(choices, check_usage(answer.usage, prompt, texts, price=price_of(model), counted=counted))


def count_tokens(model: str, text: str) -> int:
    """Count the tokens of a text as its model does, as far as its provider knows."""
    return provider_of(model).count_tokens(model, text)


def price_of(model: Model) -> Price | None:
    """Return the price from the settings, else from the provider; `None` if neither has it."""
    if model.input_usd is not None and model.output_usd is not None:
        cached_usd = None if model.cached_usd is None else model.cached_usd / _MILLION
        return Price(model.input_usd / _MILLION, model.output_usd / _MILLION, cached_usd)
    return provider_of(model.name).price(model.name)


def every_model(settings: Sampling) -> list[Model]:
    """Return all language models that are configured: the judge, fallbacks and those of agents included."""
    listed = [*settings.models, *([settings.judge] if settings.judge else [])]
    return [each for model in listed for each in (model.asked, *model.fallbacks)]


def require_keys(settings: Sampling) -> None:
    """Check that each model has a known provider, and that the provider's key is set; own servers need no key.

    Raises:
        UsageError: If no provider is known for a model's name, or an address is not one of HTTP.
        EnvironmentFault: If a key is missing.
    """
    for model in settings.models:
        if model.agent:
            remedy = f"--model agent:{model.agent}/openai/gpt-5-mini"
            _require_conversations(model, "an agent cannot work with", remedy)
    if settings.judge is not None:
        _require_conversations(settings.judge, "a scoring cannot ask", "--judge openai/gpt-5-mini")
    require_own_models(settings)
    for model in every_model(settings):
        if model.api_base is not None:
            require_address(model.api_base)
        provider_of(model.name).require(model)
        if model.api_base is None and (missing := missing_key(model.name)):
            raise EnvironmentFault(
                f"{model.name} needs {' and '.join(missing)} in the environment", remedy=f"export {missing[0]}=…"
            )


def require_own_models(settings: Sampling) -> None:
    """Check the models that LiteLLM is not asked for, such as `builtin/mutate`, which takes no time; raise likewise."""
    for model in every_model(settings):
        if own_provider(model.name):
            provider_of(model.name).require(model)


def _require_conversations(model: Model, fault: str, remedy: str) -> None:
    """Check that a model and its fallbacks take conversations, not only whole prompts."""
    for each in (model.asked, *model.fallbacks):
        if own_provider(each.name):
            raise UsageError(
                f"{model.name}: {fault} {each.name}, which takes whole prompts only",
                remedy=f"Name a model that LiteLLM knows: {remedy}",
            )


def require_prices(settings: Sampling) -> None:
    """Check that each model has a known price, because a budget in USD cannot be kept without one.

    Raises:
        UsageError: If a model's price is unknown.
    """
    for model in every_model(settings):
        if price_of(model) is None:
            raise UsageError(
                f"a budget in USD needs the price of {model.name}, which LiteLLM does not know",
                remedy="Give USD for a million tokens, 0 for a server of your own, in place of "
                f"{_setting(model, is_judge=model is settings.judge)}; or limit the night by --max-tokens.",
            )


def _setting(model: Model, *, is_judge: bool) -> str:
    """Return the flag that names a model, and the one that names it with a price."""
    base = f'api_base="{model.api_base}", ' if model.api_base else ""
    table = f'{{name="{model.name}", {base}input_usd=0, output_usd=0}}'
    return f"--judge: --set 'sampling.judge={table}'" if is_judge else f"--model: --set 'sampling.models=[{table}]'"


def missing_key(model: str) -> list[str]:
    """Return the environment variables that the provider of `model` needs and that are unset or empty."""
    return provider_of(model).missing_keys(model)


def takes_n(model: str) -> bool:
    """Return whether one request can ask for several samples."""
    return provider_of(model).takes_n(model)


def event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the process, in its own thread: LiteLLM leaks one client for each loop."""
    # Without the lock, two threads could each create a loop, despite `cache`.
    with _loading:
        return _new_event_loop()


@cache
def _new_event_loop() -> asyncio.AbstractEventLoop:
    loop = RunningTimeLoop()
    threading.Thread(target=loop.run_forever, name="overnight-gateway", daemon=True).start()
    atexit.register(_close_providers, loop)
    return loop


def _close_providers(loop: asyncio.AbstractEventLoop) -> None:
    """Close connections and cancel background tasks, to avoid warnings when the interpreter exits."""

    async def cancel_all() -> None:
        for provider in list(_loaded.values()):
            await provider.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with contextlib.suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(timeout=2)
