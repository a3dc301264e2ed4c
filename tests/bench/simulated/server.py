"""A simulated model as a server on loopback in OpenAI's protocol, until the end of its input.

    python -m tests.bench.simulated.server PERSONA_SEED [LATENCY_S]

It writes its base URL on a line. Chat and text completions are answered by the persona, embeddings with counts of
hashed triples of letters.
"""

from __future__ import annotations

import sys
import zlib
from typing import Any

from overnight.testing.fake_provider import Answer, Provider, Request
from tests.bench.simulated.model import Reply, SimulatedModel, prompt_tokens
from tests.bench.simulated.personas import persona_of

_DIMENSIONS = 64


def respond(model: SimulatedModel, number: int, request: Request) -> Answer:
    """Return the response to a request; 400 if no simulated problem is in it."""
    if "input" in request:
        return Answer(_embeddings(request))
    samples = request.get("n") or 1
    try:
        replies = [model.answer(request, number * samples + k) for k in range(samples)]
    except ValueError as error:
        return Answer({"error": {"message": str(error)}}, status=400)
    return Answer(_body(request, replies))


def _body(request: Request, replies: list[Reply]) -> dict[str, Any]:
    is_chat = "messages" in request
    choices = [
        {
            "index": k,
            "finish_reason": reply.finish_reason,
            **({"message": {"role": "assistant", "content": reply.text}} if is_chat else {"text": reply.text}),
        }
        for k, reply in enumerate(replies)
    ]
    asked, answered = prompt_tokens(request), sum(reply.tokens for reply in replies)
    usage = {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
    kind = "chat.completion" if is_chat else "text_completion"
    return {"id": "x", "object": kind, "created": 1, "model": request["model"], "choices": choices, "usage": usage}


def _embeddings(request: Request) -> dict[str, Any]:
    texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
    data = [{"object": "embedding", "index": k, "embedding": _embedding(str(text))} for k, text in enumerate(texts)]
    tokens = sum(len(str(text)) for text in texts) // 4
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": request.get("model", ""), "usage": usage}


def _embedding(text: str) -> list[float]:
    counts = [0.0] * _DIMENSIONS
    for k in range(len(text) - 2):
        counts[zlib.crc32(text[k : k + 3].encode()) % _DIMENSIONS] += 1.0
    length = sum(count * count for count in counts) ** 0.5 or 1.0
    return [count / length for count in counts]


def main() -> None:
    model = SimulatedModel(persona_of(int(sys.argv[1])))
    with Provider(lambda number, request: respond(model, number, request)) as provider:
        provider.latency_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
        sys.stdout.write(provider.api_base + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
