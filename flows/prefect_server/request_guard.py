"""Request filter of a Prefect server on loopback: it refuses requests of other web pages and for other host names.

A password alone is not enough. Any page in the user's browser may send requests to loopback, and an attacker's host
name that resolves to 127.0.0.1 makes them look like requests of the same origin (DNS rebinding). A page at another port
of this machine could also show the server's own page in a frame and have the user click in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_NAMES = ("127.0.0.1", "localhost", "[::1]")
_NO_FRAMES = [(b"x-frame-options", b"DENY"), (b"content-security-policy", b"frame-ancestors 'none'")]


def own_hosts(port: int) -> tuple[str, ...]:
    """Return the valid values of the Host header for the server at a port."""
    return tuple(f"{name}:{port}" for name in _NAMES)


def own_origins(port: int) -> tuple[str, ...]:
    return tuple(f"http://{host}" for host in own_hosts(port))


class LocalGuard:
    """ASGI application that forwards requests for its own host that come from its own pages or from no page."""

    def __init__(self, application: Application, port: int) -> None:
        self._application = application
        self._hosts = frozenset(own_hosts(port))
        self._origins = frozenset(own_origins(port))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._application(scope, receive, _forbid_framing(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            await _refuse(send, refusal)

    def _refusal(self, scope: Scope) -> str | None:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return f"expected the host {' or '.join(sorted(self._hosts))}; a tunnel must use the same port at both ends"
        if any(origin.lower() not in self._origins for origin in origins):
            return "expected a request of the server's own pages"
        return None


def _forbid_framing(send: Send) -> Send:
    """Return a sender that adds headers which forbid other pages to show the response in a frame."""

    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_NO_FRAMES]}
        await send(message)

    return send_with_headers


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def _refuse(send: Send, reason: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
