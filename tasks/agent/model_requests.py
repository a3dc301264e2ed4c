"""An agent's requests for its model, in OpenAI's protocol: the known fields, of which alone a request to a provider is
made, and the answers' form.

A field that is neither used nor ignored is refused: providers and LiteLLM have fields that name an address, a key, a
model or a tool of the provider's, and get new ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from overnight.schemas.agent_settings import MODEL_IN_CONTAINER
from overnight.tasks.agent.door import Known, RequestRefused, read_body
from overnight.tasks.sample.provider import Turn

COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/models"

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
_Tokens = Annotated[int, Field(ge=1, le=10**9)]


class _Text(Known):
    ignored: ClassVar[frozenset[str]] = frozenset({"cache_control"})

    type: Literal["text"]
    text: str


class _Called(Known):
    name: Annotated[str, Field(max_length=256)]  # as its model wrote it
    arguments: str


class _Call(Known):
    ignored: ClassVar[frozenset[str]] = frozenset({"index", "provider_specific_fields", "extra_content"})

    id: str
    type: Literal["function"] = "function"
    function: _Called


class _Message(Known):
    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            *("name", "refusal", "annotations", "cache_control", "provider_specific_fields"),
            *("reasoning", "reasoning_details", "thinking_blocks"),
        }
    )

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Text] | None = None
    tool_calls: Annotated[list[_Call], Field(max_length=128)] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


class _Function(Known):
    name: _Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(Known):
    ignored: ClassVar[frozenset[str]] = frozenset({"cache_control"})

    type: Literal["function"]
    function: _Function


class _Chosen(Known):
    name: _Name


class _Choice(Known):
    type: Literal["function"]
    function: _Chosen


class _Schema(Known):
    name: _Name
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class _Format(Known):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class ChatRequest(Known):
    """A request for a chat completion. What tunes it a little, and what clients say of themselves, is ignored."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            *("user", "metadata", "store", "stream_options", "service_tier", "safety_identifier"),
            *("prompt_cache_key", "prompt_cache_retention", "seed", "verbosity", "logprobs", "top_logprobs"),
            *("logit_bias", "presence_penalty", "frequency_penalty"),
        }
    )

    model: str
    messages: Annotated[list[_Message], Field(min_length=1, max_length=10_000)]
    tools: Annotated[list[_Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | _Choice | None = None
    parallel_tool_calls: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    response_format: _Format | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    n: Literal[1] | None = None
    stream: bool | None = None


_NOT_SENT = {"model", "n", "stream", "max_completion_tokens"}


@dataclass(frozen=True)
class ModelRequest:
    """A request as it is sent to a model, and whether the agent wants its answer as a stream."""

    sent: dict[str, Any]
    is_stream: bool


def read_request(body: str) -> ModelRequest:
    """Return a request for a chat completion, made anew of its known fields.

    Raises:
        RequestRefused: If it is none, is for another model, or has a field that is not known.
    """
    request = read_body(ChatRequest, body)
    if request.model != MODEL_IN_CONTAINER:
        raise RequestRefused(f"expected the model {MODEL_IN_CONTAINER!r}, got {request.model!r:.80}", 404)
    sent = request.model_dump(exclude_none=True, by_alias=True, exclude=_NOT_SENT)
    if not request.tools:  # an empty list is refused by providers
        sent = {name: value for name, value in sent.items() if name not in ("tools", "tool_choice")}
    if most := request.max_completion_tokens or request.max_tokens:
        sent["max_tokens"] = most
    return ModelRequest(sent, bool(request.stream))


def models_answer() -> dict[str, Any]:
    return {"object": "list", "data": [{"id": MODEL_IN_CONTAINER, "object": "model", "created": 0, "owned_by": "you"}]}


def turn_answer(turn: Turn, number: int) -> dict[str, Any]:
    """Return a turn as a response to its request."""
    usage = turn.usage
    return {
        "id": f"turn-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL_IN_CONTAINER,
        "choices": [{"index": 0, "message": dict(turn.message), "finish_reason": turn.finish_reason or "stop"}],
        "usage": {
            "prompt_tokens": usage.tokens_in,
            "completion_tokens": usage.tokens_out,
            "total_tokens": usage.tokens_in + usage.tokens_out,
        },
    }


def as_stream(answer: Mapping[str, Any]) -> str:
    """Return a response as server-sent events, for an agent that asks for a stream: all at once."""
    choice = answer["choices"][0]
    message = choice["message"]
    calls = [{"index": place, **call} for place, call in enumerate(message.get("tool_calls") or ())]
    delta = {**message, **({"tool_calls": calls} if calls else {})}
    shared = {name: answer[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    chunks = [
        {**shared, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**shared, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
        {**shared, "choices": [], "usage": answer["usage"]},
    ]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def error_answer(reason: str) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    return {"error": {"message": reason, "type": "invalid_request_error", "param": None, "code": "refused"}}
