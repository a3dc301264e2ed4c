"""An agent's requests for its model, in OpenAI's protocol: what of them is passed on, and the answers' form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from overnight.schemas.agent_settings import MODEL_IN_CONTAINER
from overnight.tasks.sample.provider import Turn

COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/models"


class RequestRefused(Exception):
    """A request that is not passed on, with the reason for the agent, and the status of HTTP."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def read_request(body: str) -> dict[str, Any]:
    """Return a request for a chat completion.

    Raises:
        RequestRefused: If it is none, is for another model, or names anything that is not in it, such as an image's
            address: what it names would be fetched outside of the container.
    """
    request = parse_object(body)
    if request.get("model") != MODEL_IN_CONTAINER:
        raise RequestRefused(f"expected the model {MODEL_IN_CONTAINER!r}, got {request.get('model')!r:.80}", 404)
    if request.get("n") not in (None, 1):
        raise RequestRefused(f"expected n = 1, got {request['n']!r:.20}")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise RequestRefused("expected messages of text alone")
    tools = request.get("tools") or []
    if not isinstance(tools, list) or any(not isinstance(one, dict) or one.get("type") != "function" for one in tools):
        raise RequestRefused("expected tools of the type function")
    return request


def parse_object(body: str) -> dict[str, Any]:
    """Return the object that a body of JSON is."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise RequestRefused("expected a JSON object")
    return data


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    if isinstance(content, list):
        return all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    return content is None or isinstance(content, str)


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
    return {"error": {"message": reason, "type": "refused", "code": "refused"}}
