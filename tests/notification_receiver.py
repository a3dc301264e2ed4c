"""A service on loopback that is told of nights: Apprise's `json://`, over real HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MOST_MESSAGES = 1_000


class NotificationReceiver:
    """Keeps what it is sent.

    Attributes:
        messages: `title`, `message` and `type` of each, in order.
        status: What it answers; 500 is a service that fails.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"json://teller:pass-word-7@127.0.0.1:{self._server.server_address[1]}/path-secret-9"

    def __enter__(self) -> NotificationReceiver:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        mailbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if len(mailbox.messages) < _MOST_MESSAGES:
                    mailbox.messages.append(message)
                self.send_response(mailbox.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler
