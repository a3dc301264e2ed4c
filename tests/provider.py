"""A model provider on loopback: OpenAI's protocol over real HTTP, faults included."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tasks.sample.builtin import mutate

Request = dict[str, Any]
_MOST_REQUESTS = 20_000


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `body` may be bytes that are no JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Provider:
    """Answers chat and text completions.

    Attributes:
        script: What to answer to the n-th request (from 0); `None` means an honest answer.
        requests: Every request's body, in order.
        latency_s: Seconds before each answer.
    """

    def __init__(self, script: Callable[[int, Request], Answer | None] = lambda number, request: None) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.latency_s = 0.0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Provider:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request) -> Answer:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
        if number >= _MOST_REQUESTS:
            return Answer({"error": {"message": "too many requests for a test"}}, status=403)
        time.sleep(self.latency_s)
        return self.script(number, request) or Answer(honest(request, number))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = provider.answer(request)
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


def honest(request: Request, number: int) -> dict[str, Any]:
    """What a provider answers: as many choices as asked for, each a mutated program in one of the ways chat has."""
    if "messages" not in request:
        texts = [mutate(request["prompt"], seed=number * 100 + k) for k in range(request.get("n", 1))]
        choices = [{"index": k, "text": text, "finish_reason": "stop"} for k, text in enumerate(texts)]
        return _envelope(request, choices, "text_completion")
    prompt = request["messages"][-1]["content"]
    texts = [in_chat(mutate(prompt, seed=number * 100 + k), number + k) for k in range(request.get("n", 1))]
    choices = [
        {"index": k, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for k, text in enumerate(texts)
    ]
    return _envelope(request, choices, "chat.completion")


def in_chat(code: str, style: int) -> str:
    """Code as chat models wrap it: fences, prose around, helpers beside, an echo of an old version first."""
    match style % 4:
        case 0:
            return f"```python\n{code}\n```"
        case 1:
            return f"Sure! Here it is.\n\n```python\nimport math\n\n{code}\n```\n\nIt should score higher."
        case 2:
            return f"First, an idea:\n```\nx = better\n```\nand now the code:\n```py\n{code}\n```"
        case _:
            return code


def _envelope(request: Request, choices: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 20 * len(choices), "total_tokens": 100 + 20 * len(choices)}
    return {"id": "x", "object": kind, "created": 1, "model": request["model"], "choices": choices, "usage": usage}
