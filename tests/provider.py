"""A model provider on loopback: OpenAI's protocol over real HTTP, faults included."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tasks.sample.builtin import mutate
from tests.batch_provider import Mailroom

Request = dict[str, Any]
_MOST_REQUESTS = 20_000


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, or what comes in its place.

    Attributes:
        body: Plain data, or bytes that need be no JSON.
        missing: Bytes of the body that are promised and never sent: the connection ends before them.
        drip_s: Seconds before each byte.
        reset: The connection is reset in place of an answer.
        hang: Nothing is answered, as long as the provider lives.
        refuse_s: Afterwards every connection is refused for so many seconds.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    drip_s: float = 0.0
    reset: bool = False
    hang: bool = False
    refuse_s: float = 0.0


class Provider:
    """Answers chat and text completions.

    Attributes:
        script: What to answer to the n-th request (from 0); `None` means an honest answer.
        requests: Every request's body, in order.
        asked_at: When each came, `time.monotonic()`.
        keys: The `Authorization` header of each.
        mailroom: Batches and files.
        sold: The answers that were sent whole and hold a choice, in order.
        latency_s: Seconds before each answer.
    """

    def __init__(self, script: Callable[[int, Request], Answer | None] = lambda number, request: None) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.asked_at: list[float] = []
        self.keys: list[str] = []
        self.sold: list[dict[str, Any]] = []
        self.mailroom = Mailroom(self)
        self.latency_s = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._server = self._listen(0)

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Provider:
        self._serve()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with self._lock:
            self._stop()

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        server.daemon_threads = True
        return server

    def _serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def refuse(self, seconds: float) -> None:
        """Refuses connections for a while."""
        with self._lock:
            port = self._server.server_address[1]
            self._stop()
            if not self._ended.wait(seconds):
                self._server = self._listen(port)
                self._serve()

    def answer(self, request: Request) -> Answer:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self.asked_at.append(time.monotonic())
        if number >= _MOST_REQUESTS:
            return Answer({"error": {"message": "too many requests for a test"}}, status=403)
        time.sleep(self.latency_s)
        return self.script(number, request) or Answer(honest(request, number))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._write(provider.mailroom.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.startswith(("/v1/files", "/v1/batches")):
                    self._write(provider.mailroom.post(self.path, body))
                    return
                request = json.loads(body)
                provider.keys.append(self.headers.get("Authorization", ""))
                answer = provider.answer(request)
                if answer.hang:
                    provider._ended.wait()
                self.close_connection = answer.hang or answer.reset or bool(answer.missing or answer.refuse_s)
                if answer.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    os.close(self.connection.detach())
                elif not answer.hang:
                    self._write(answer)
                if answer.refuse_s:
                    threading.Thread(target=provider.refuse, args=(answer.refuse_s,), daemon=True).start()

            def _write(self, answer: Answer) -> None:
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body) + answer.missing))
                if self.close_connection:
                    self.send_header("Connection", "close")
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # who waited has given up
                    for piece in [body[k : k + 1] for k in range(len(body))] if answer.drip_s else [body]:
                        time.sleep(answer.drip_s)
                        self.wfile.write(piece)
                if isinstance(answer.body, dict) and answer.body.get("choices") and not answer.missing:
                    provider.sold.append(answer.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


def honest(request: Request, number: int) -> dict[str, Any]:
    """What a provider answers: as many choices as asked for, each a mutated program in one of the ways chat has."""
    if "messages" not in request:
        texts = [mutate(request["prompt"], seed=number * 100 + k) for k in range(request.get("n", 1))]
        choices = [{"index": k, "text": text, "finish_reason": "stop"} for k, text in enumerate(texts)]
        return envelope(request, choices, "text_completion")
    prompt = request["messages"][-1]["content"]
    texts = [in_chat(mutate(prompt, seed=number * 100 + k), number + k) for k in range(request.get("n", 1))]
    choices = [
        {"index": k, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for k, text in enumerate(texts)
    ]
    return envelope(request, choices, "chat.completion")


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


def envelope(request: Request, choices: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 20 * len(choices), "total_tokens": 100 + 20 * len(choices)}
    return {"id": "x", "object": kind, "created": 1, "model": request["model"], "choices": choices, "usage": usage}
