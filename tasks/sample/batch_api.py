"""A provider's Batch API through LiteLLM: files of prompts that are answered within a day, at half price mostly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from schemas.errors import TerminalProviderError, TransientProviderError, UsageError
from schemas.program import Prompt
from schemas.settings import Model, Sampling
from tasks.sample.provider import BUILTIN, address, litellm_module, price_of, sampling_options, translated
from tasks.sample.usage import Price

T = TypeVar("T")

_OF_OPENAI = frozenset({"azure", "hosted_vllm", "litellm_proxy", "openai"})
"""They take a request as it is; that of others is translated from OpenAI's words by LiteLLM or by themselves."""

PROVIDERS = tuple(sorted(_OF_OPENAI | {"bedrock", "gemini", "mistral", "vertex_ai", "xai"}))
"""Those for which LiteLLM can create a batch and collect it."""

_LISTING = _OF_OPENAI | {"vertex_ai", "xai"}

_ENDPOINTS = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
_FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
_TAG = "overnight"
_TAGS = {"gemini": "display_name", "xai": "name"}
"""Those that keep no other word about a batch than this one."""

_TIMEOUT_S = 120.0
_SET_UP = "Batches of this provider want more than a key: see https://docs.litellm.ai/docs/batches"


@dataclass(frozen=True, slots=True)
class State:
    """What a provider says of a batch.

    Attributes:
        files: Where answers and errors are, as far as there are any.
        said: Why it failed.
    """

    status: str
    answered: int
    files: tuple[str, ...]
    said: str

    @property
    def is_final(self) -> bool:
        return self.status in _FINAL


def require_batches(sampling: Sampling) -> None:
    """Looks whether each model's provider has a Batch API that LiteLLM reaches, where prompts are to be sent so.

    Raises:
        UsageError: If one has none.
    """
    for model in sampling.models if sampling.batch_api else ():
        _, provider = _named(model)
        if provider not in PROVIDERS:
            raise UsageError(
                f"--batch: {model.name}: LiteLLM cannot create a batch for {provider}",
                remedy=f"It can for {', '.join(PROVIDERS)}. Leave out --batch, or take another model.",
            )


def batch_price(model: Model) -> Price | None:
    """As LiteLLM lists it for batches; the full price where it lists none. One from the settings is taken as it is."""
    full = price_of(model)
    if full is None or model.input_usd is not None:
        return full
    listed = litellm_module().get_model_info(model.name)
    halves = (listed.get("input_cost_per_token_batches"), listed.get("output_cost_per_token_batches"))
    return full if None in halves else Price(*halves)


def request_line(custom_id: str, model: Model, prompt: Prompt, sampling: Sampling, samples: int) -> bytes:
    """One request of a batch, in OpenAI's words."""
    asked = (
        {"messages": [{"role": "user", "content": prompt.text}]} if prompt.style == "chat" else {"prompt": prompt.text}
    )
    options = _taken(model, sampling_options(model, sampling, samples=samples, seed=0))
    request = {"custom_id": custom_id, "method": "POST", "url": _ENDPOINTS[prompt.style]}
    return json.dumps({**request, "body": {"model": _named(model)[0], **asked, **options}}).encode()


def _taken(model: Model, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that a model takes, in OpenAI's words."""
    litellm, (name, provider) = litellm_module(), _named(model)
    if provider not in _OF_OPENAI:
        known = litellm.get_supported_openai_params(model=name, custom_llm_provider=provider) or ()
        return {option: value for option, value in options.items() if option in known}
    taken = litellm.get_optional_params(model=name, custom_llm_provider=provider, drop_params=True, **options)
    return {option: value for option, value in taken.items() if option != "extra_body"}


async def send(model: Model, lines: list[bytes], key: str) -> str:
    """Creates a batch, once.

    Returns:
        The provider's id of it.

    Raises:
        ProviderError: If it does not take it.
    """
    litellm, name = litellm_module(), _named(model)[0]
    file = (f"{key}.jsonl", b"".join(one + b"\n" for one in lines))
    uploaded = await _called(model, litellm.acreate_file(file=file, purpose="batch", model=name, **_options(model)))
    created = await _called(
        model,
        litellm.acreate_batch(
            completion_window="24h",
            endpoint=_ENDPOINTS[model.style],
            input_file_id=uploaded.id,
            metadata={_tag(model): key},
            model=model.name,
            **_options(model),
        ),
    )
    return created.id


async def look(model: Model, batch_id: str) -> State:
    """How a batch stands.

    Raises:
        ProviderError: If the provider does not say.
    """
    name = _named(model)[0]
    batch = await _called(model, litellm_module().aretrieve_batch(batch_id=batch_id, model=name, **_options(model)))
    counts, errors = getattr(batch, "request_counts", None), getattr(batch, "errors", None)
    said = [str(one.message) for one in getattr(errors, "data", None) or () if one.message]
    files = tuple(one for one in (batch.output_file_id, batch.error_file_id) if one)
    return State(str(batch.status), getattr(counts, "completed", 0) or 0, files, "; ".join(said[:3]))


async def find(model: Model, key: str) -> str | None:
    """Looks for a batch whose id never arrived; `None` if the provider has none with our key, or cannot be asked.

    Raises:
        ProviderError: If the provider does not say.
    """
    if _named(model)[1] not in _LISTING:
        return None
    listed = await _called(model, litellm_module().alist_batches(limit=100, **_options(model)))
    return next((one.id for one in listed.data if (one.metadata or {}).get(_tag(model)) == key), None)


async def rows(model: Model, file_id: str) -> list[dict[str, Any]]:
    """The lines of a file of answers; one that is no JSON is left out.

    Raises:
        ProviderError: If the provider does not give it.
    """
    content = await _called(model, litellm_module().afile_content(file_id=file_id, **_options(model)))
    found = [_parsed(text) for text in content.content.splitlines() if text.strip()]
    return [row for row in found if isinstance(row, dict)]


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


async def _called(model: Model, call: Awaitable[T]) -> T:
    """Awaits it; whatever LiteLLM raises on the way of one provider or another is a `ProviderError`."""
    litellm = litellm_module()
    theirs = (litellm.exceptions.openai.OpenAIError, _base_error(litellm), httpx.HTTPError)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await call
    except TimeoutError as error:
        raise TransientProviderError(f"{model.name}: no whole answer in {_TIMEOUT_S:g} s") from error
    except theirs as error:
        raise translated(error, model.name, model.api_base) from error
    except ValueError as error:
        if type(error) is not ValueError:  # an answer that is no JSON, or another one than expected
            raise translated(error, model.name, model.api_base) from error
        raise TerminalProviderError(f"{model.name}: {error}", remedy=_SET_UP) from error


def _base_error(litellm: Any) -> type[Exception]:
    return litellm.llms.base_llm.chat.transformation.BaseLLMException


def _tag(model: Model) -> str:
    return _TAGS.get(_named(model)[1], _TAG)


def _named(model: Model) -> tuple[str, str]:
    """The model's name at its provider, and the provider's."""
    if model.name.startswith(BUILTIN):
        return model.name, BUILTIN.strip("/")
    name, provider, _, _ = litellm_module().get_llm_provider(model=model.name)
    return name, provider


def _options(model: Model) -> dict[str, Any]:
    return {"custom_llm_provider": _named(model)[1], "max_retries": 0, "timeout": _TIMEOUT_S, **address(model)}
