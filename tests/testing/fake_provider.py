"""Serve a model provider on loopback: OpenAI's protocol over real HTTP, with faults on demand."""

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

from overnight.tasks.sample.builtin import mutate
from overnight.testing.fake_batches import BatchServer

Request = dict[str, Any]
_MOST_REQUESTS = 20_000


@dataclass(frozen=True)
class Answer:
    """One HTTP response, or a fault.

    Attributes:
        body: Plain data, or bytes that may be no JSON.
        missing: Number of bytes that are announced but never sent, because the connection is closed first.
        drip_s: Seconds before each byte.
        reset: Whether the connection is reset instead of a response.
        hang: Whether no response is sent until the provider ends.
        refuse: Whether every connection is refused after the response, until `Provider.listen_again`.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    drip_s: float = 0.0
    reset: bool = False
    hang: bool = False
    refuse: bool = False


class Provider:
    """Server for chat and text completions, files and batches.

    Attributes:
        script: Returns the answer to the n-th request, from 0; `None` means the default response.
        requests: Body of each request, in order.
        request_times: `time.monotonic()` at which each request came.
        keys: `Authorization` header of each request.
        batches: Server for batches and files.
        responses: Bodies of the responses that are sent completely and have a choice, in order.
        latency_s: Seconds before each response.
    """

    def __init__(self, script: Callable[[int, Request], Answer | None] = lambda number, request: None) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.request_times: list[float] = []
        self.keys: list[str] = []
        self.responses: list[dict[str, Any]] = []
        self.batches = BatchServer(self)
        self._refuses = False
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

    def refuse(self) -> None:
        """Refuse connections until `listen_again`."""
        with self._lock:
            self._stop()
            self._refuses = True

    def listen_again(self) -> None:
        """Accept connections at the same port, if they are refused now."""
        with self._lock:
            if self._refuses:
                self._server, self._refuses = self._listen(self._server.server_address[1]), False
                self._serve()

    def answer(self, request: Request) -> Answer:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self.request_times.append(time.monotonic())
        if number >= _MOST_REQUESTS:
            return Answer({"error": {"message": "too many requests for a test"}}, status=403)
        time.sleep(self.latency_s)
        return self.script(number, request) or Answer(default_response(request, number))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # the client may have been killed
                    super().handle()

            def do_GET(self) -> None:
                self._write(provider.batches.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.startswith(("/v1/files", "/v1/batches")):
                    self._write(provider.batches.post(self.path, body))
                    return
                request = json.loads(body)
                provider.keys.append(self.headers.get("Authorization", ""))
                answer = provider.answer(request)
                if answer.hang:
                    provider._ended.wait()
                self.close_connection = answer.hang or answer.reset or bool(answer.missing) or answer.refuse
                if answer.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    os.close(self.connection.detach())
                if answer.refuse:
                    provider.refuse()  # before the response, so that the next request cannot come first
                if not answer.hang and not answer.reset:
                    self._write(answer)

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
                if isinstance(answer.body, dict) and answer.body.get("choices") and not answer.missing:
                    provider.responses.append(answer.body)
                with contextlib.suppress(ConnectionError):  # the client may have given up
                    for piece in [body[k : k + 1] for k in range(len(body))] if answer.drip_s else [body]:
                        time.sleep(answer.drip_s)
                        self.wfile.write(piece)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


def default_response(request: Request, number: int) -> dict[str, Any]:
    """Return a response with the requested number of choices, each a mutated program in a style of chat models."""
    if "messages" not in request:
        texts = [mutate(request["prompt"], seed=number * 100 + k) for k in range(request.get("n", 1))]
        choices = [{"index": k, "text": text, "finish_reason": "stop"} for k, text in enumerate(texts)]
        return response_body(request, choices, "text_completion")
    prompt = request["messages"][-1]["content"]
    texts = [wrap_as_chat(mutate(prompt, seed=number * 100 + k), number + k) for k in range(request.get("n", 1))]
    return says(request, *texts).body


def says(request: Request, *texts: str) -> Answer:
    """Return an answer of a chat model with a choice for each text."""
    choices = [
        {"index": k, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for k, text in enumerate(texts)
    ]
    return Answer(response_body(request, choices, "chat.completion"))


def wrap_as_chat(code: str, style: int) -> str:
    """Wrap code as chat models do: in a fence, with prose and an import, after an idea in another fence, or bare."""
    match style % 4:
        case 0:
            return f"```python\n{code}\n```"
        case 1:
            return f"Sure! Here it is.\n\n```python\nimport math\n\n{code}\n```\n\nIt should score higher."
        case 2:
            return f"First, an idea:\n```\nx = better\n```\nand now the code:\n```py\n{code}\n```"
        case _:
            return code


def response_body(request: Request, choices: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return a response with these choices, 100 prompt tokens and 20 completion tokens for each choice."""
    usage = {"prompt_tokens": 100, "completion_tokens": 20 * len(choices), "total_tokens": 100 + 20 * len(choices)}
    return {"id": "x", "object": kind, "created": 1, "model": request["model"], "choices": choices, "usage": usage}
