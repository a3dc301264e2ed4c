"""The provider of all models that LiteLLM knows: keys, prices, requests. Only this module imports `litellm`."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import mktime_tz, parsedate_tz
from functools import cache
from typing import Any

from overnight.schemas.errors import (
    PromptRefused,
    ProviderError,
    TerminalProviderError,
    TransientProviderError,
    UsageError,
    without_keys,
)
from overnight.schemas.program import Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample.providers import (
    Answer,
    Choice,
    Price,
    ReportedUsage,
    about_the_text,
    is_too_long,
    stored_choice,
)

_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_PROVIDERS_OF_CLAUDE = frozenset({"anthropic", "azure_ai", "bedrock", "databricks", "openrouter", "vertex_ai"})
_NO_CREDIT = ("insufficient_quota", "exceeded your current quota", "credit balance")
_N = re.compile(r"(?<![\w\\-])n(?![\w-])")
"""The parameter for several answers to one request, where an error names it."""

_EXCEPTION_NAMES = re.compile(r"^(?:[\w.]+(?:Error|Exception|Unavailable|Timeout)(?:: | - ))+")
"""Names of exception classes at the start of a message: LiteLLM adds one for each of its layers."""


class LiteLLMProvider:
    """`Provider` of all models that LiteLLM knows; making one imports LiteLLM, which takes seconds."""

    def __init__(self) -> None:
        self._litellm = litellm_module()

    def require(self, model: Model) -> None:
        try:
            self._litellm.get_llm_provider(model=model.name, api_base=model.api_base)
        except self._litellm.BadRequestError as error:
            raise UsageError(
                f"{model.name!r} names no provider that LiteLLM knows",
                remedy="LiteLLM's model strings are provider/model, like openai/gpt-5-mini; for a server of your own, "
                "use openai/NAME with --api-base URL.",
            ) from error

    def missing_keys(self, name: str) -> list[str]:
        return _missing_keys(name)

    def takes_n(self, name: str) -> bool:
        return _takes_n(name)

    def price(self, name: str) -> Price | None:
        """Return the price in LiteLLM's list."""
        known = _known_price(name)
        if known is None or known.get("input_cost_per_token") is None or known.get("output_cost_per_token") is None:
            return None
        cached_usd = known.get("cache_read_input_token_cost")
        return Price(known["input_cost_per_token"], known["output_cost_per_token"], cached_usd)

    def count_tokens(self, name: str, text: str) -> int:
        """Count the tokens of a text with the model's own tokenizer if LiteLLM has it."""
        return self._litellm.token_counter(model=name, text=text)

    def timeout_s(self, model: Model, settings: Sampling) -> float:  # noqa: ARG002
        return settings.timeout_s

    async def send(self, model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Answer:  # noqa: ARG002
        """Send one request: LiteLLM's retries and those of the provider's client are off."""
        with _provider_errors(self._litellm, model) as sent:
            response = await _call(self._litellm, model, prompt, settings, samples, sent)
        return Answer(tuple(map(_choice, response.choices)), _reported(response, model))

    async def close(self) -> None:
        await self._litellm.close_litellm_async_clients()


create = LiteLLMProvider

_MESSAGE = {"role", "content", "tool_calls", "reasoning_content"}
"""Parts of a model's message that its agent gets."""


async def converse(model: Model, request: Mapping[str, Any], settings: Sampling) -> tuple[Any, str, ReportedUsage]:
    """Send a request of an agent or the judge; return the message, why it ended, and the usage.

    The request is one that was made here, of known fields: others could name an address, a key, a file or a tool of
    the provider's.

    Raises:
        TransientProviderError, TerminalProviderError: As for `Provider.send`.
    """
    litellm = litellm_module()
    most = [tokens for tokens in (settings.max_tokens, request.get("max_tokens")) if tokens]
    options = {
        **request,
        **({"max_tokens": min(most)} if most else {}),
        **connection_options(model),
        "model": model.name,
        "timeout": settings.timeout_s,
        "max_retries": 0,
        "drop_params": True,
    }
    with _provider_errors(litellm, model) as sent:
        response = await litellm.acompletion(**options, logger_fn=sent.append)
    choice = response.choices[0]
    message = choice.message.model_dump(exclude_none=True, include=_MESSAGE)
    return message, str(choice.finish_reason or ""), _reported(response, model)


@contextlib.contextmanager
def _provider_errors(litellm: Any, model: Model) -> Iterator[list[Any]]:
    """Raise errors of LiteLLM as `ProviderError`.

    It yields a list to which LiteLLM adds what it sends. Where it sends nothing and no connection failed, the request
    cannot be made for this provider, which says the same of every try.
    """
    sent: list[Any] = []
    try:
        yield sent
    except (litellm.ContextWindowExceededError, litellm.ContentPolicyViolationError) as error:
        raise about_the_text(_first_line(error)) from None
    except litellm.exceptions.openai.OpenAIError as error:
        known = to_provider_error(error, model.name, model.api_base)
        if getattr(error, "status_code", None) != 429 and is_too_long(known.message):
            known = about_the_text(known.message)
        elif isinstance(known, TransientProviderError) and not sent and not _has_os_error(error):
            known = PromptRefused(known.message, remedy="LiteLLM cannot make this request for the provider as it is.")
        # Without the cause, whose traceback would be logged with all that the provider says.
        raise known from None


def _has_os_error(error: BaseException | None) -> bool:
    """Return whether an error comes from one of the operating system, such as that of a connection."""
    while error is not None:
        if isinstance(error, OSError):
            return True
        error = error.__cause__ or error.__context__
    return False


async def _call(litellm: Any, model: Model, prompt: Prompt, settings: Sampling, samples: int, sent: list[Any]) -> Any:
    options = {
        **sampling_options(settings, samples=samples),
        "model": model.name,
        **connection_options(model),
        "timeout": settings.timeout_s,
        "max_retries": 0,
        "drop_params": True,
        "logger_fn": sent.append,
    }
    if prompt.style == "completion":
        return await litellm.atext_completion(prompt=prompt.text, **options)
    return await litellm.acompletion(messages=_messages(model, prompt), **options)


def _messages(model: Model, prompt: Prompt) -> list[dict[str, Any]]:
    """Return the messages of a chat prompt; where a model caches on request only, the system message is marked."""
    messages: list[dict[str, Any]] = [*prompt.messages]
    if prompt.system and _caches_on_request(model.name):
        block = {"type": "text", "text": prompt.system, "cache_control": {"type": "ephemeral"}}
        messages[0] = {"role": "system", "content": [block]}
    return messages


@cache
def _caches_on_request(name: str) -> bool:
    """Return whether a model reads the beginning of prompts from a cache only if it is told where the beginning ends.

    It is so for Claude (https://docs.litellm.ai/docs/completion/prompt_caching). Other models do it by themselves;
    for Gemini, a mark would make a cache that is paid for by the hour.
    """
    _, provider, _, _ = litellm_module().get_llm_provider(model=name)
    return provider in _PROVIDERS_OF_CLAUDE and "claude" in name.lower()


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
    return {"api_base": model.api_base, **({"api_key": "none"} if _missing_keys(model.name) else {})}


def _missing_keys(name: str) -> list[str]:
    with _without_empty_variables():
        return list(litellm_module().validate_environment(model=name).get("missing_keys", []))


def _choice(choice: Any) -> Choice:
    message = getattr(choice, "message", None)
    text = message.content if message is not None else getattr(choice, "text", None)
    reason = str(getattr(choice, "finish_reason", "") or "")
    return stored_choice(text, reason, str(getattr(message, "refusal", None) or ""))


def _reported(response: Any, model: Model) -> ReportedUsage:
    usage = getattr(response, "usage", None)
    return ReportedUsage(
        getattr(usage, "prompt_tokens", None),
        getattr(usage, "completion_tokens", None),
        None if model.input_usd is not None else response._hidden_params.get("response_cost"),
        # LiteLLM puts the numbers of all providers there, Anthropic's `cache_read_input_tokens` included.
        getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None),
    )


@cache
def _known_price(model: str) -> dict[str, Any] | None:
    litellm = litellm_module()
    try:
        return dict(litellm.get_model_info(model))
    except litellm.exceptions.ModelNotMappedError:
        return None


def to_provider_error(error: Exception, model: str, api_base: str | None) -> ProviderError:
    """Convert an error of LiteLLM to a `ProviderError` with a remedy."""
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
    without_n = (
        " One that takes no `n` is asked for one answer with --set search.samples=1." if _N.search(details) else ""
    )
    return PromptRefused(message, remedy=f"The provider refuses the request as it is.{without_n}")


def _retry_after(error: Exception) -> float | None:
    """Return the seconds that a Retry-After header says, as a number or a date; `None` if it is missing."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    text = headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        date = parsedate_tz(text)
        return max(0.0, mktime_tz(date) - time.time()) if date else None


def _first_line(error: Exception) -> str:
    """Return the class and the first line of an error, without the exception names that LiteLLM puts before it."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {without_keys(_EXCEPTION_NAMES.sub('', lines[0]))[:300]}"


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
def _takes_n(model: str) -> bool:
    return "n" in (litellm_module().get_supported_openai_params(model=model) or ())


_loading = threading.RLock()


@cache
def knows_provider(name: str) -> bool:
    """Return whether LiteLLM has a provider of this name."""
    return name in {provider.value for provider in litellm_module().LlmProviders}


def litellm_module() -> Any:
    """Return LiteLLM, set up once: without log messages or downloads at import."""
    with _loading:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        if "litellm" not in sys.modules:
            _import_without_gc()
        import litellm

        _set_up(litellm)
        return litellm


def _set_up(litellm: Any) -> None:
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.disable_hf_tokenizer_download = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # LiteLLM also raises the errors that it logs


def _import_without_gc() -> None:
    """Import LiteLLM without garbage collection, which takes a quarter of the time and finds nothing."""
    gc.disable()
    try:
        importlib.import_module("litellm")
        gc.freeze()
    finally:
        gc.enable()
