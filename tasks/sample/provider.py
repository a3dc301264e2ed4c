"""Send requests to models through LiteLLM; look up keys and prices. No other module imports `litellm`.

LiteLLM takes seconds to import, so nothing imports it for the built-in model.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
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
from tasks.sample.usage import Price, ReportedUsage, Usage, check_usage

BUILTIN = "builtin/"
BUILTIN_MODEL = "builtin/mutate"
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_NO_CREDIT = ("insufficient_quota", "exceeded your current quota", "credit balance")
_MILLION = 1_000_000
_EXCEPTION_NAMES = re.compile(r"^(?:[\w.]+(?:Error|Exception|Unavailable|Timeout)(?:: | - ))+")
"""Names of exception classes at the start of a message: LiteLLM adds one for each of its layers."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a response.

    Attributes:
        refusal: The provider's reason for giving no text; empty if it gave text.
    """

    text: str
    finish_reason: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """A model's response to one request: at least one choice, and the tokens and cost."""

    choices: tuple[Choice, ...]
    usage: Usage


async def send_request(model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Response:
    """Send one request, without retries: LiteLLM's retries and those of the provider's client are off.

    Args:
        model: The model that receives the request; a fallback if it is not the prompt's own model.
        prompt: The prompt to send.
        settings: Temperature, limits, time-out.
        samples: Number of choices to request.
        seed: Seed of the built-in model's answer.

    Raises:
        TransientProviderError: If a retry may help.
        TerminalProviderError: If a retry cannot help; PromptRefused if the request itself is at fault.
    """
    if model.name.startswith(BUILTIN):
        return _builtin_response(model, prompt.text, seed)
    litellm = litellm_module()
    try:
        # The client's own time-out never ends a response that arrives byte by byte.
        async with asyncio.timeout(settings.timeout_s):
            response = await _call(litellm, model, prompt, settings, samples)
    except TimeoutError as error:
        raise TransientProviderError(f"{model.name}: no complete response in {settings.timeout_s:g} s") from error
    except (litellm.ContextWindowExceededError, litellm.ContentPolicyViolationError) as error:
        refused = PromptRefused(_first_line(error))
        refused.is_about_the_text = True
        raise refused from error
    except litellm.exceptions.openai.OpenAIError as error:
        raise to_provider_error(error, model.name, model.api_base) from error
    if not response.choices:
        raise TransientProviderError(f"{model.name} returned a response without choices")
    choices = tuple(_choice(choice) for choice in response.choices[:samples])
    return Response(choices, _usage(response, model, prompt.text, choices))


async def _call(litellm: Any, model: Model, prompt: Prompt, settings: Sampling, samples: int) -> Any:
    options = {
        **sampling_options(settings, samples=samples),
        "model": model.name,
        **connection_options(model),
        "timeout": settings.timeout_s,
        "max_retries": 0,
        "drop_params": True,
    }
    if prompt.style == "completion":
        return await litellm.atext_completion(prompt=prompt.text, **options)
    return await litellm.acompletion(messages=[{"role": "user", "content": prompt.text}], **options)


def sampling_options(settings: Sampling, *, samples: int) -> dict[str, Any]:
    """Return the sampling options of a request under OpenAI's names; options that are not set are omitted."""
    options = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_tokens,
        "n": samples if samples > 1 else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def connection_options(model: Model) -> dict[str, Any]:
    """Return the server's address, and a placeholder key where none is set; empty for the provider's own address."""
    if model.api_base is None:
        return {}
    # A self-hosted server needs no key, but the client of OpenAI's protocol requires one.
    return {"api_base": model.api_base, **({"api_key": "none"} if missing_key(model.name) else {})}


def _builtin_response(model: Model, prompt: str, seed: int) -> Response:
    """Return the built-in model's answer, with the usage that a provider would report."""
    if model.name != BUILTIN_MODEL:
        name = model.name.removeprefix(BUILTIN)
        raise TerminalProviderError(f"there is no built-in model {name}", remedy=f"There is {BUILTIN_MODEL}.")
    text = to_valid_text(builtin.mutate(prompt, seed=seed))
    reported = ReportedUsage(len(prompt) // 4, len(text) // 4, None)
    counted = (rough_tokens(prompt), rough_tokens(text))
    usage = check_usage(reported, prompt, [text], price=price_of(model), counted=counted)
    return Response((Choice(text, "stop"),), usage)


def _choice(choice: Any) -> Choice:
    message = getattr(choice, "message", None)
    text = message.content if message is not None else getattr(choice, "text", None)
    refusal = str(getattr(message, "refusal", None) or "")
    reason = str(getattr(choice, "finish_reason", "") or "")
    if not text and not refusal and reason == "content_filter":
        refusal = "the provider's content filter"
    return Choice(to_valid_text(text or ""), reason, to_valid_text(refusal)[:300])


def to_valid_text(text: str) -> str:
    """Replace lone surrogates, such as half an emoji at the token limit: such text cannot be stored."""
    return text.encode("utf-8", "replace").decode()


def _usage(response: Any, model: Model, prompt: str, choices: tuple[Choice, ...]) -> Usage:
    usage = getattr(response, "usage", None)
    reported = ReportedUsage(
        getattr(usage, "prompt_tokens", None),
        getattr(usage, "completion_tokens", None),
        None if model.input_usd is not None else response._hidden_params.get("response_cost"),
    )
    texts = [choice.text for choice in choices]
    return check_usage(
        reported, prompt, texts, price=price_of(model), counted=(rough_tokens(prompt), rough_tokens("".join(texts)))
    )


def rough_tokens(text: str) -> int:
    """Return a rough count of tokens, for providers that report none."""
    return len(text.encode()) // 3 + 1


def count_tokens(model: str, text: str) -> int:
    """Count the tokens of a text with the model's own tokenizer if LiteLLM has it."""
    return litellm_module().token_counter(model=model, text=text)


def price_of(model: Model) -> Price | None:
    """Return the price from the settings, else from LiteLLM's price list; `None` if neither has it."""
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


def to_provider_error(error: Exception, model: str, api_base: str | None) -> ProviderError:
    """Convert an error of LiteLLM to a `ProviderError` with a remedy.

    Args:
        error: The error that was raised.
        model: The model that was sent the request.
        api_base: Address of the server; `None` for the provider's own.
    """
    status = getattr(error, "status_code", None)
    message = f"{model}: {_first_line(error)}"
    if api_base and "Connection error" in message:
        message = f"{message.removesuffix('.')} at {api_base}"
    details = f"{error} {getattr(error, 'code', '')} {getattr(error, 'body', '')}"
    if any(phrase in details for phrase in _NO_CREDIT):
        remedy = f"The account at the provider of {model} has no credit left: top it up."
        return TerminalProviderError(message, remedy=remedy)
    if status is None or status in _TRANSIENT_STATUS:
        transient = TransientProviderError(message)
        transient.retry_after_s = _retry_after(error)
        return transient
    remedies = {
        401: f"Check the key of the provider of {model}; `overnight doctor` names the variable.",
        403: f"Check what the key of the provider of {model} is permitted to use.",
        404: f"Check the name {model} and --api-base; LiteLLM's model strings are provider/model.",
    }
    if status in remedies:
        return TerminalProviderError(message, remedy=remedies[status])
    return PromptRefused(message, remedy="The provider refuses the request as it is.")


def _retry_after(error: Exception) -> float | None:
    """Return the seconds of a Retry-After header; `None` if it is missing or a date."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def _first_line(error: Exception) -> str:
    """Return the class and the first line of an error, without the exception names that LiteLLM puts before it."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {_EXCEPTION_NAMES.sub('', lines[0])[:300]}"


def every_model(settings: Sampling) -> list[Model]:
    """Return all configured models, fallbacks included."""
    return [each for model in settings.models for each in (model, *model.fallbacks)]


def require_keys(settings: Sampling) -> None:
    """Check that each model has a known provider, and that the provider's key is set; own servers need no key.

    Raises:
        UsageError: If no provider is known for a model's name.
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
            remedy="LiteLLM's model strings are provider/model, like openai/gpt-5-mini; for a server of your own, "
            "use openai/NAME with --api-base URL.",
        ) from error


def require_prices(settings: Sampling) -> None:
    """Check that each model has a known price, because a budget in USD cannot be kept without one.

    Raises:
        UsageError: If a model's price is unknown.
    """
    for model in every_model(settings):
        if price_of(model) is None:
            raise UsageError(
                f"a budget in USD needs the price of {model.name}, which LiteLLM does not know",
                remedy="Give USD for a million tokens, 0 for a server of your own, in place of --model: --set "
                f"""'sampling.models=[{{name="{model.name}", {_base_setting(model)}input_usd=0, output_usd=0}}]'; """
                "or limit the night by --max-tokens.",
            )


def _base_setting(model: Model) -> str:
    return f'api_base="{model.api_base}", ' if model.api_base else ""


def missing_key(model: str) -> list[str]:
    """Return the environment variables that the provider of `model` needs and that are unset or empty."""
    if model.startswith(BUILTIN):
        return []
    litellm = litellm_module()
    with _without_empty_variables():
        return list(litellm.validate_environment(model=model).get("missing_keys", []))


@contextlib.contextmanager
def _without_empty_variables() -> Iterator[None]:
    """Remove empty environment variables until the block ends: LiteLLM takes an empty key for a set one."""
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
    """Return whether one request can ask for several samples."""
    return not model.startswith(BUILTIN) and "n" in (litellm_module().get_supported_openai_params(model=model) or ())


_loading = threading.RLock()


def event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the process, in its own thread: LiteLLM leaks one client for each loop."""
    # Without the lock, two threads could each create a loop, despite `cache`.
    with _loading:
        return _new_event_loop()


@cache
def _new_event_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="overnight-gateway", daemon=True).start()
    atexit.register(_close_clients, loop)
    return loop


def _close_clients(loop: asyncio.AbstractEventLoop) -> None:
    """Close LiteLLM's connections and cancel its background tasks, to avoid warnings when the interpreter exits."""

    async def cancel_all() -> None:
        if "litellm" in sys.modules:
            await litellm_module().close_litellm_async_clients()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with contextlib.suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(timeout=2)


def import_ahead(settings: Sampling) -> None:
    """Begin to import LiteLLM in a thread, if a model needs it."""
    if any(not model.name.startswith(BUILTIN) for model in every_model(settings)):
        threading.Thread(target=litellm_module, daemon=True).start()


def litellm_module() -> Any:
    """Return LiteLLM, imported and set up once."""
    with _loading:
        return _import_litellm()


@cache
def _import_litellm() -> Any:
    """Import LiteLLM without downloads, log messages and garbage collection, which takes a quarter of the time."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    gc.disable()
    try:
        import litellm

        gc.freeze()
    finally:
        gc.enable()
    _set_up(litellm)
    return litellm


def _set_up(litellm: Any) -> None:
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.disable_hf_tokenizer_download = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # LiteLLM also raises the errors that it logs
