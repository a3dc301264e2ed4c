"""Repetition of requests that met SQLite's lock, by the server itself and after hundredths of a second.

Prefect's server reads and then writes in one transaction. If another one writes in between, SQLite refuses the second
at once, however long its busy timeout, and the server answers 503. Its client would wait two seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping
from typing import Any

from overnight.flows.prefect_server.request_guard import Application, Receive, Scope, Send

Message = MutableMapping[str, Any]

_WITHIN_S = 5.0
"""Seconds after which a request is not repeated any more."""

_WAIT_S = 0.02
"""Seconds before the first repetition; each wait is half as long again."""

_READING = frozenset(("GET", "HEAD", "OPTIONS"))


class LockRetries:
    """ASGI application that repeats a writing request whose answer is 503, for a few seconds.

    What the application has begun to write is rolled back when it answers 503.
    """

    def __init__(self, application: Application, within_s: float = _WITHIN_S) -> None:
        self._application = application
        self._within_s = within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._application(scope, receive, send)
            return
        request, wait_s, until = await _whole(receive), _WAIT_S, time.monotonic() + self._within_s
        while time.monotonic() + wait_s < until:
            answer = _Answer(send)
            try:
                await self._application(dict(scope), _Again(request, receive), answer)
            except Exception:  # Starlette raises what it has answered, so that servers can log it
                if not answer.is_locked:
                    raise
            if not answer.is_locked:
                return
            await asyncio.sleep(wait_s)
            wait_s *= 1.5
        await self._application(scope, _Again(request, receive), send)


class _Again:
    """Receiver of a request that was read before."""

    def __init__(self, request: list[Message], receive: Receive) -> None:
        self._left = list(request)
        self._receive = receive

    async def __call__(self) -> Message:
        return self._left.pop(0) if self._left else await self._receive()


class _Answer:
    """Sender that forwards an answer, unless its status is 503."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_locked = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 503:
            self.is_locked = True
        if not self.is_locked:
            await self._send(message)


async def _whole(receive: Receive) -> list[Message]:
    """Return the messages of a request until its body is complete, or its sender is gone."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages
