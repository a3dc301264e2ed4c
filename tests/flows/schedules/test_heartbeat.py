"""Signs of life of `overnight schedule serve`: an address that is asked while nights can start, and the watchdog."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from overnight.flows.schedules import heartbeat
from overnight.flows.schedules.heartbeat import heartbeat_address, send_heartbeats
from overnight.schemas.errors import UsageError


class Listener:
    """A service that is asked on loopback.

    Attributes:
        asked: Paths, in order.
        answers: Status of the next answers, in order; then 200. 0 is none at all.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[int] = []
        self.is_over = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/secret-9"

    def __enter__(self) -> Listener:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.asked.append(self.path)
                status = listener.answers.pop(0) if listener.answers else 200
                if not status:
                    listener.is_over.wait(60)
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as running:
        yield running


def beats(
    address: str, until: Callable[[list[str]], bool], *, may_start: Callable[[], bool] = lambda: True
) -> list[str]:
    """Send heartbeats until a condition on what was reported holds; return the reports."""
    said: list[str] = []

    async def send() -> None:
        sending = asyncio.ensure_future(send_heartbeats(address, may_start, said.append, interval_s=0.001))
        async with asyncio.timeout(60):
            while not until(said):
                await asyncio.sleep(0.001)
        sending.cancel()

    asyncio.run(send())
    return said


def test_the_address_is_asked_again_and_again(listener: Listener):
    assert beats(listener.address, lambda _: len(listener.asked) >= 3) == []
    assert set(listener.asked) == {"/secret-9"}


def test_it_is_not_asked_while_no_night_can_start(listener: Listener):
    looked: list[bool] = []
    beats(listener.address, lambda _: len(looked) >= 5, may_start=lambda: bool(looked.append(False)))
    assert listener.asked == []


@pytest.mark.parametrize(("status", "fault"), [(500, "answer 500"), (0, "no answer in 0 s")])
def test_a_service_that_fails_or_hangs_is_told_once_without_its_address(
    listener: Listener, status: int, fault: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(heartbeat, "_TIMEOUT_S", 0.2 if status == 0 else 10.0)
    listener.answers = [status, status]
    first, second = beats(listener.address, lambda said: len(said) >= 2)
    assert fault in first
    assert "again" in second
    assert "secret" not in first + second


@pytest.mark.parametrize("address", ["ftp://example.org/secret-9", "secret-9", "https://", "http://[::1/secret-9"])
def test_another_address_is_refused_and_not_repeated(address: str):
    with pytest.raises(UsageError, match="--heartbeat") as refused:
        heartbeat_address(address)
    assert "secret" not in str(refused.value)


def test_the_address_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OVERNIGHT_HEARTBEAT", "https://example.org/a")
    assert heartbeat_address(None) == "https://example.org/a"
    assert heartbeat_address("https://example.org/b") == "https://example.org/b"


def test_systemd_hears_that_the_process_runs_also_while_no_night_can_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        heard: list[bytes] = []

        def is_heard(_: list[str]) -> bool:
            try:
                heard.append(manager.recv(100))
            except BlockingIOError:
                return False
            return len(heard) >= 3

        beats("", is_heard, may_start=lambda: False)
    assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
