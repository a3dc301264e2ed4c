"""Use a provider's Batch API through LiteLLM: files of prompts, completed within a day, mostly at half price."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import httpx

from overnight.schemas.completion_source import answer_in_thread
from overnight.schemas.errors import TerminalProviderError, TransientProviderError, UsageError, without_keys
from overnight.schemas.program import Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample.provider import own_provider, price_of
from overnight.tasks.sample.providers import (
    Choice,
    Price,
    ReportedUsage,
    Usage,
    check_usage,
    rough_tokens,
    stored_choice,
    to_valid_text,
)
from overnight.tasks.sample.providers.litellm import (
    connection_options,
    litellm_module,
    sampling_options,
    to_provider_error,
)

T = TypeVar("T")

_OPENAI_COMPATIBLE = frozenset({"azure", "hosted_vllm", "litellm_proxy", "openai"})
"""Providers that take OpenAI's requests unchanged; for others, LiteLLM or the provider translates them."""

PROVIDERS = tuple(sorted(_OPENAI_COMPATIBLE | {"bedrock", "gemini", "mistral", "vertex_ai", "xai"}))
"""Providers for which LiteLLM can create and download a batch."""

_WITH_LISTING = _OPENAI_COMPATIBLE | {"vertex_ai", "xai"}
"""Providers for which LiteLLM can list batches."""

_ENDPOINTS = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
_FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
_METADATA_FIELD = "overnight"
"""Metadata field of a batch that holds our key."""

_ONLY_METADATA_FIELDS = {"gemini": "display_name", "xai": "name"}
"""Field that holds our key, for providers that keep no other metadata of a batch."""

_TIMEOUT_S = 120.0
_SETUP_REMEDY = "Batches of this provider need more than a key: see https://docs.litellm.ai/docs/batches"


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """Status of a batch, as the provider reports it.

    Attributes:
        status: The provider's word, such as `in_progress`.
        completed: Number of completed requests.
        files: Ids of the files of results and of errors, as far as they exist.
        reason: Reason of the failure; empty if there is none.
    """

    status: str
    completed: int
    files: tuple[str, ...]
    reason: str

    @property
    def is_final(self) -> bool:
        return self.status in _FINAL


def require_batches(sampling: Sampling) -> None:
    """Check, if prompts are to be sent in batches, that LiteLLM supports the Batch API of each model's provider.

    Raises:
        UsageError: If a provider's Batch API is not supported.
    """
    for model in sampling.models if sampling.batch_api else ():
        _, provider = _name_and_provider(model)
        if provider not in PROVIDERS:
            raise UsageError(
                f"--batch: {model.name}: LiteLLM cannot create a batch for {provider}",
                remedy=f"It can for {', '.join(PROVIDERS)}. Leave out --batch, or take another model.",
            )


def batch_price(model: Model) -> Price | None:
    """Return the price in batches: from the settings unchanged, else as LiteLLM lists it, else the full price."""
    full = price_of(model)
    if full is None or model.input_usd is not None:
        return full
    listed = litellm_module().get_model_info(model.name)
    input_usd, output_usd = listed.get("input_cost_per_token_batches"), listed.get("output_cost_per_token_batches")
    if input_usd is None or output_usd is None:
        return full
    return Price(input_usd, output_usd, listed.get("cache_read_input_token_cost_batches"))


def request_line(custom_id: str, model: Model, prompt: Prompt, sampling: Sampling, samples: int) -> bytes:
    """Return one request of a batch as a line of JSON, in OpenAI's format."""
    content = {"messages": prompt.messages} if prompt.style == "chat" else {"prompt": prompt.text}
    options = _supported_options(model, sampling_options(sampling, samples=samples))
    request = {"custom_id": custom_id, "method": "POST", "url": _ENDPOINTS[prompt.style]}
    return json.dumps({**request, "body": {"model": _name_and_provider(model)[0], **content, **options}}).encode()


def _supported_options(model: Model, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a model supports, under OpenAI's names."""
    litellm = litellm_module()
    name, provider = _name_and_provider(model)
    if provider not in _OPENAI_COMPATIBLE:
        known = litellm.get_supported_openai_params(model=name, custom_llm_provider=provider) or ()
        return {option: value for option, value in options.items() if option in known}
    supported = litellm.get_optional_params(model=name, custom_llm_provider=provider, drop_params=True, **options)
    return {option: value for option, value in supported.items() if option != "extra_body"}


async def create_batch(model: Model, lines: list[bytes], key: str) -> str:
    """Create a batch, without retries.

    `find_batch` finds it by the key. The lines are those of `request_line`.

    Returns:
        The provider's id of the batch.

    Raises:
        ProviderError: If the provider does not accept it.
    """
    litellm = litellm_module()
    name, _ = _name_and_provider(model)
    file = (f"{key}.jsonl", b"".join(line + b"\n" for line in lines))
    upload = partial(litellm.create_file, file=file, purpose="batch", model=name, **_options(model))
    uploaded = await _call(model, upload)
    create = partial(
        litellm.create_batch,
        completion_window="24h",
        endpoint=_ENDPOINTS[model.style],
        input_file_id=uploaded.id,
        metadata={_metadata_field(model): key},
        model=model.name,
        **_options(model),
    )
    created = await _call(model, create)
    return created.id


async def retrieve_status(model: Model, batch_id: str) -> BatchStatus:
    """Retrieve the status of a batch.

    Raises:
        ProviderError: If the provider does not return it.
    """
    name, _ = _name_and_provider(model)
    retrieve = partial(litellm_module().retrieve_batch, batch_id=batch_id, model=name, **_options(model))
    batch = await _call(model, retrieve)
    counts, errors = getattr(batch, "request_counts", None), getattr(batch, "errors", None)
    reasons = [str(error.message) for error in getattr(errors, "data", None) or () if error.message]
    files = tuple(file_id for file_id in (batch.output_file_id, batch.error_file_id) if file_id)
    return BatchStatus(str(batch.status), getattr(counts, "completed", 0) or 0, files, "; ".join(reasons[:3]))


async def find_batch(model: Model, key: str) -> str | None:
    """Return the id of the batch with our key; `None` if there is none, or the provider cannot list its batches.

    Raises:
        ProviderError: If the provider does not return the list.
    """
    _, provider = _name_and_provider(model)
    if provider not in _WITH_LISTING:
        return None
    listed = await _call(model, partial(litellm_module().list_batches, limit=100, **_options(model)))
    field = _metadata_field(model)
    return next((batch.id for batch in listed.data if (batch.metadata or {}).get(field) == key), None)


async def download_rows(model: Model, file_id: str) -> list[dict[str, Any]]:
    """Download the rows of a file of results or errors; lines that are no JSON objects are omitted.

    Raises:
        ProviderError: If the provider does not return the file.
    """
    content = await _call(model, partial(litellm_module().file_content, file_id=file_id, **_options(model)))
    rows = [_parse_json(line) for line in content.content.splitlines() if line.strip()]
    return [row for row in rows if isinstance(row, dict)]


def _parse_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


async def _call(model: Model, call: Callable[[], T]) -> T:
    """Call LiteLLM, and convert its errors, which differ by provider, to `ProviderError`.

    It runs in a thread, without an event loop: LiteLLM leaves the client of each call to the garbage collector, and
    the connections of an asynchronous one, if they are closed by then, take readers away from those that came after.
    """
    litellm = litellm_module()
    errors = (litellm.exceptions.openai.OpenAIError, _base_error(litellm), httpx.HTTPError)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await asyncio.wrap_future(answer_in_thread(lambda _: call(), "overnight-batch"))
    except TimeoutError as error:
        raise TransientProviderError(f"{model.name}: no complete response in {_TIMEOUT_S:g} s") from error
    except errors as error:
        raise to_provider_error(error, model.name, model.api_base) from None
    except ValueError as error:
        if type(error) is not ValueError:  # the response is no JSON, or has an unexpected structure
            raise to_provider_error(error, model.name, model.api_base) from None
        raise TerminalProviderError(f"{model.name}: {error}", remedy=_SETUP_REMEDY) from None


def _base_error(litellm: Any) -> type[Exception]:
    return litellm.llms.base_llm.chat.transformation.BaseLLMException


def _metadata_field(model: Model) -> str:
    _, provider = _name_and_provider(model)
    return _ONLY_METADATA_FIELDS.get(provider, _METADATA_FIELD)


def _name_and_provider(model: Model) -> tuple[str, str]:
    """Return the model's name at its provider, and the provider's name."""
    if own := own_provider(model.name):
        return model.name, own
    name, provider, _, _ = litellm_module().get_llm_provider(model=model.name)
    return name, provider


def _options(model: Model) -> dict[str, Any]:
    _, provider = _name_and_provider(model)
    return {"custom_llm_provider": provider, "max_retries": 0, "timeout": _TIMEOUT_S, **connection_options(model)}


def failure_reason(row: dict[str, Any], body: dict[str, Any]) -> str:
    """Return in words why a row of a file has no answer; at most 300 characters."""
    error = body.get("error") or row.get("error") or {}
    text = str(error.get("message") or error.get("code") or "an answer without a choice")
    return without_keys(to_valid_text(text))[:300]


def choice_of(choice: dict[str, Any]) -> Choice:
    """Return a choice of a row's response."""
    message = choice.get("message") or {"content": choice.get("text")}
    parts = (message.get("content"), choice.get("finish_reason"), message.get("refusal"))
    return stored_choice(*(str(part or "") for part in parts))


def usage_of(model: Model, row_usage: dict[str, Any], prompt: str, texts: list[str]) -> Usage:
    """Return the tokens and the cost of a row, at the price of batches."""
    reported = _reported_usage(row_usage)
    counted = (rough_tokens(prompt), rough_tokens("".join(texts)))
    return check_usage(reported, prompt, texts, price=batch_price(model), counted=counted)


def _reported_usage(row_usage: dict[str, Any]) -> ReportedUsage:
    """Return the tokens that a row reports, in Google's or OpenAI's format."""
    total, prompt = row_usage.get("totalTokens"), row_usage.get("promptTokens")
    if isinstance(total, int) and isinstance(prompt, int):
        # Google's count of completion tokens excludes reasoning, which costs the same.
        return ReportedUsage(prompt, total - prompt, None, row_usage.get("cachedContentTokens"))
    details = row_usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return ReportedUsage(row_usage.get("prompt_tokens"), row_usage.get("completion_tokens"), None, cached)
