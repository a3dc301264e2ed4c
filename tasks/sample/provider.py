"""Models through LiteLLM: a request, its answer or error, keys, prices. The only module that imports `litellm`."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import importlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from schemas.errors import (
    EnvironmentFault,
    PromptRefused,
    ProviderError,
    TerminalProviderError,
    TransientProviderError,
    UsageError,
)
from schemas.program import Prompt
from schemas.settings import Model, Sampling
from tasks.sample import builtin
from tasks.sample.usage import Claim, Price, Usage, settle

BUILTIN = "builtin/"
BUILTIN_MODEL = "builtin/mutate"
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_NO_MONEY = ("insufficient_quota", "exceeded your current quota", "credit balance")
_MILLION = 1_000_000
_LAYERS = re.compile(r"^(?:[\w.]+(?:Error|Exception|Unavailable|Timeout)(?:: | - ))+")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers to a request.

    Attributes:
        refusal: Why there is no text, in the provider's words.
    """

    text: str
    finish_reason: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request brought, at least one choice, and what it took."""

    choices: tuple[Choice, ...]
    usage: Usage


async def ask(model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Answer:
    """One request, once: LiteLLM's own retries and those of the provider's client are off.

    Args:
        model: Who is asked.
        prompt: What; its model may be another one, for which this one answers.
        settings: Temperature, limits, time-out.
        samples: Choices to ask for.
        seed: For models that take one.

    Raises:
        TransientProviderError: If asking again may help.
        TerminalProviderError: If it cannot; PromptRefused if the request itself is at fault.
    """
    litellm = litellm_module()
    try:
        async with asyncio.timeout(settings.timeout_s):  # the client's own never ends for a server that drips
            response = await _call(litellm, model, prompt, settings, samples, seed)
    except TimeoutError as error:
        raise TransientProviderError(f"{model.name}: no whole answer in {settings.timeout_s:g} s") from error
    except (litellm.ContextWindowExceededError, litellm.ContentPolicyViolationError) as error:
        refused = PromptRefused(_first_line(error))
        refused.is_about_the_text = True
        raise refused from error
    except litellm.exceptions.openai.OpenAIError as error:
        raise translated(error, model.name, model.api_base) from error
    if not response.choices:
        raise TransientProviderError(f"{model.name} answered without a choice")
    choices = tuple(_choice(one) for one in response.choices[:samples])
    return Answer(choices, _usage(response, model, prompt.text, choices))


async def _call(litellm: Any, model: Model, prompt: Prompt, settings: Sampling, samples: int, seed: int) -> Any:
    options = {
        **sampling_options(model, settings, samples=samples, seed=seed),
        "model": model.name,
        **address(model),
        "timeout": settings.timeout_s,
        "max_retries": 0,
        "drop_params": True,
    }
    if prompt.style == "completion" and not model.name.startswith(BUILTIN):
        return await litellm.atext_completion(prompt=prompt.text, **options)
    return await litellm.acompletion(messages=[{"role": "user", "content": prompt.text}], **options)


def sampling_options(model: Model, settings: Sampling, *, samples: int, seed: int) -> dict[str, Any]:
    """How a model is to answer, in OpenAI's words; what is not set is left out."""
    options = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_tokens,
        "n": samples if samples > 1 else None,
        "seed": seed if model.name.startswith(BUILTIN) else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def address(model: Model) -> dict[str, Any]:
    """A server of one's own wants no key, but the client of OpenAI's protocol insists on one."""
    if model.api_base is None:
        return {}
    return {"api_base": model.api_base, **({"api_key": "none"} if missing_key(model.name) else {})}


def _choice(choice: Any) -> Choice:
    message = getattr(choice, "message", None)
    text = message.content if message is not None else getattr(choice, "text", None)
    refusal = str(getattr(message, "refusal", None) or "")
    reason = str(getattr(choice, "finish_reason", "") or "")
    if not text and not refusal and reason == "content_filter":
        refusal = "the provider's content filter"
    return Choice(clean(text or ""), reason, clean(refusal)[:300])


def clean(text: str) -> str:
    """Half an emoji, cut off by the limit of tokens, is no text that could be stored."""
    return text.encode("utf-8", "replace").decode()


def _usage(response: Any, model: Model, prompt: str, choices: tuple[Choice, ...]) -> Usage:
    usage = getattr(response, "usage", None)
    claim = Claim(
        getattr(usage, "prompt_tokens", None),
        getattr(usage, "completion_tokens", None),
        None if model.input_usd is not None else response._hidden_params.get("response_cost"),
    )
    texts = [choice.text for choice in choices]
    return settle(
        claim, prompt, texts, price=price_of(model), counted=(rough_tokens(prompt), rough_tokens("".join(texts)))
    )


def rough_tokens(text: str) -> int:
    """A rough count of tokens, for providers that tell none."""
    return len(text.encode()) // 3 + 1


def count_tokens(model: str, text: str) -> int:
    """Tokens of a text, by the model's own tokenizer where LiteLLM brings it."""
    return litellm_module().token_counter(model=model, text=text)


def price_of(model: Model) -> Price | None:
    """From the settings, else LiteLLM's price list; `None` if neither says it."""
    if model.input_usd is not None and model.output_usd is not None:
        return Price(model.input_usd / _MILLION, model.output_usd / _MILLION)
    if model.name.startswith(BUILTIN):
        return Price(0.0, 0.0)
    known = _known_price(model.name)
    if known is None or known.get("input_cost_per_token") is None or known.get("output_cost_per_token") is None:
        return None
    return Price(known["input_cost_per_token"], known["output_cost_per_token"])


@cache
def _known_price(model: str) -> dict[str, Any] | None:
    litellm = litellm_module()
    try:
        return dict(litellm.get_model_info(model))
    except litellm.exceptions.ModelNotMappedError:
        return None


def translated(error: Exception, model: str, api_base: str | None) -> ProviderError:
    """An error of LiteLLM's in our words.

    Args:
        error: As it was raised.
        model: Who was asked.
        api_base: Where, if that is no provider's own address.
    """
    status = getattr(error, "status_code", None)
    said = f"{model}: {_first_line(error)}"
    if api_base and "Connection error" in said:
        said = f"{said.removesuffix('.')} at {api_base}"
    if any(mark in f"{error} {getattr(error, 'code', '')} {getattr(error, 'body', '')}" for mark in _NO_MONEY):
        return TerminalProviderError(said, remedy=f"The account at the provider of {model} has no money left: top up.")
    if status is None or status in _TRANSIENT_STATUS:
        transient = TransientProviderError(said)
        transient.retry_after_s = _retry_after(error)
        return transient
    remedies = {
        401: f"Check the key of the provider of {model}; `overnight doctor` names the variable.",
        403: f"Check what the key of the provider of {model} may use.",
        404: f"Check the name {model} and --api-base; LiteLLM's model strings are provider/model.",
    }
    if status in remedies:
        return TerminalProviderError(said, remedy=remedies[status])
    return PromptRefused(said, remedy="The provider refuses the request as it is.")


def _retry_after(error: Exception) -> float | None:
    """Seconds; the other form of the header, a date, is left to our own waits."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def _first_line(error: Exception) -> str:
    """What the provider said, without the names of classes that LiteLLM puts before it, one for each of its layers."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {_LAYERS.sub('', lines[0])[:300]}"


def every_model(settings: Sampling) -> list[Model]:
    """All that may be asked, fallbacks included."""
    return [one for model in settings.models for one in (model, *model.fallbacks)]


def require_keys(settings: Sampling) -> None:
    """Looks whether each model has a provider, and that its key; a server of one's own needs none.

    Raises:
        UsageError: If a name is none that can be asked.
        EnvironmentFault: If a key is missing.
    """
    for model in every_model(settings):
        _require_provider(model)
        if model.api_base is None and (missing := missing_key(model.name)):
            raise EnvironmentFault(
                f"{model.name} needs {' and '.join(missing)} in the environment", remedy=f"export {missing[0]}=…"
            )


def _require_provider(model: Model) -> None:
    if model.name.startswith(BUILTIN):
        if model.name != BUILTIN_MODEL:
            raise UsageError(f"there is no built-in model {model.name!r}", remedy=f"There is {BUILTIN_MODEL}.")
        return
    litellm = litellm_module()
    try:
        litellm.get_llm_provider(model=model.name, api_base=model.api_base)
    except litellm.BadRequestError as error:
        raise UsageError(
            f"{model.name!r} names no provider that LiteLLM knows",
            remedy="Its model strings are provider/model, like openai/gpt-5-mini; a server of your own is "
            "openai/NAME with --api-base URL.",
        ) from error


def require_prices(settings: Sampling) -> None:
    """Looks whether each model has a price, without which a budget in USD could not hold.

    Raises:
        UsageError: If one has none.
    """
    for model in every_model(settings):
        if price_of(model) is None:
            raise UsageError(
                f"a budget in USD needs the price of {model.name}, which LiteLLM does not know",
                remedy="Give USD for a million tokens, 0 for a server of your own, in place of --model: --set "
                f"""'sampling.models=[{{name="{model.name}", {_base(model)}input_usd=0, output_usd=0}}]'; """
                "or limit the night by --max-tokens.",
            )


def _base(model: Model) -> str:
    return f'api_base="{model.api_base}", ' if model.api_base else ""


def missing_key(model: str) -> list[str]:
    """Environment variables that the provider of `model` needs and that are not set, or empty."""
    if model.startswith(BUILTIN):
        return []
    litellm = litellm_module()
    with _without_empty_variables():
        return list(litellm.validate_environment(model=model).get("missing_keys", []))


@contextlib.contextmanager
def _without_empty_variables() -> Iterator[None]:
    """LiteLLM takes a key for set where its variable has nothing in it."""
    with _loading:
        empty = {name: value for name, value in os.environ.items() if not value.strip()}
        for name in empty:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(empty)


@cache
def takes_n(model: str) -> bool:
    """Whether one request can ask for several samples."""
    return not model.startswith(BUILTIN) and "n" in (litellm_module().get_supported_openai_params(model=model) or ())


_loading = threading.RLock()


def event_loop() -> asyncio.AbstractEventLoop:
    """The one loop of the process, in a thread of its own: LiteLLM leaks a client a loop."""
    # `cache` alone lets two threads make one each.
    with _loading:
        return _new_event_loop()


@cache
def _new_event_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="overnight-gateway", daemon=True).start()
    atexit.register(_finish, loop)
    return loop


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Closes LiteLLM's connections and background tasks, which would complain at the interpreter's end."""

    async def cancel_all() -> None:
        await litellm_module().close_litellm_async_clients()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    with contextlib.suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(timeout=2)


def litellm_module() -> Any:
    """LiteLLM, set up once: quiet, nothing fetched at import, the built-in model registered."""
    with _loading:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        if "litellm" not in sys.modules:
            _import_uncollected()
        import litellm

        if not any(entry["provider"] == "builtin" for entry in litellm.custom_provider_map):
            _set_up(litellm)
        return litellm


def _import_uncollected() -> None:
    """The first import: nothing in it is garbage, and looking for that takes a quarter of the time."""
    gc.disable()
    try:
        importlib.import_module("litellm")
        gc.freeze()
    finally:
        gc.enable()


def _set_up(litellm: Any) -> None:
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.disable_hf_tokenizer_download = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # what it logs as an error, it raises, too

    class BuiltinModel(litellm.CustomLLM):
        """`builtin/mutate` as a LiteLLM provider, on the path that every other model takes."""

        async def acompletion(self, *_: Any, **call: Any) -> Any:
            return _builtin_answer(litellm, call)

    litellm.custom_provider_map.append({"provider": "builtin", "custom_handler": BuiltinModel()})
    litellm.utils.custom_llm_setup()


def _builtin_answer(litellm: Any, call: dict[str, Any]) -> Any:
    if call["model"] != "mutate":
        raise litellm.llms.custom_llm.CustomLLMError(404, f"there is no built-in model {call['model']}")
    prompt = call["messages"][-1]["content"]
    text = builtin.mutate(prompt, seed=call["optional_params"].get("seed", 0))
    response = call["model_response"]
    response.choices[0].message.content = text
    response.choices[0].finish_reason = "stop"
    response.usage = litellm.Usage(prompt_tokens=len(prompt) // 4, completion_tokens=len(text) // 4)
    return response
