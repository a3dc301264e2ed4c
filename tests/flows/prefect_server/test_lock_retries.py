"""Test that the server repeats writing requests that met SQLite's lock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from overnight.flows.prefect_server.lock_retries import LockRetries
from overnight.flows.prefect_server.request_guard import Receive, Scope, Send


class Locked:
    """An application that is locked for its first requests, and then answers with the body that it got."""

    def __init__(self, refusals: int) -> None:
        self.requests = 0
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        scope["path"] += "/changed"
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status = 503 if self.requests <= self._refusals else 201
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode() + body})
        if status == 503:
            raise OSError("database is locked")  # as Starlette does


def answer(
    application: LockRetries, method: str = "POST", *, sent: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    request = [{"type": "http.request", "body": part, "more_body": part == b"a"} for part in (b"a", b"b")]
    sent = [] if sent is None else sent

    async def receive() -> dict[str, Any]:
        return request.pop(0) if request else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application({"type": "http", "method": method, "path": "/runs"}, receive, send))
    return sent


@pytest.mark.parametrize("refusals", [0, 1, 3])
def test_a_write_is_repeated_until_the_database_is_free(refusals: int):
    locked = Locked(refusals)
    start, body = answer(LockRetries(locked))
    assert (start["status"], body["body"]) == (201, b"/runs/changedab")
    assert locked.requests == refusals + 1


def test_a_database_that_stays_locked_is_told_after_a_while():
    locked = Locked(1000)
    sent: list[dict[str, Any]] = []
    with pytest.raises(OSError, match="database is locked"):
        answer(LockRetries(locked, within_s=0.2), sent=sent)
    assert sent[0]["status"] == 503
    assert locked.requests > 2


def test_what_only_reads_is_not_repeated():
    locked = Locked(1)
    with pytest.raises(OSError, match="database is locked"):
        answer(LockRetries(locked), "GET")
    assert locked.requests == 1
