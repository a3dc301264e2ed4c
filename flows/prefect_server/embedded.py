"""The Prefect server of a night, or of `overnight serve`: a process that ends with whoever started it.

Prefect's own temporary server is left running when its client is killed. This one ends with its client, and is started
again when it ends by itself. Its client holds the socket, so that the address stays the same, and requests that come
meanwhile wait for an answer.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import IO

from flows.environment import SERVER
from flows.prefect_server.access import (
    forget_served_port,
    password_file,
    remember_served_port,
    require_own_listener,
    served_port,
    server_password,
)
from flows.prefect_server.process import environment_of_server, listen
from flows.prefect_server.pruning import environment_of_pruning, pruning
from schemas.errors import EnvironmentFault

START_TIMEOUT_S = 120.0
DEFAULT_PORT = 4200
"""Where `overnight serve`, as Prefect itself, has its server."""

RESTARTS = 5
"""How often in a row `overnight serve` starts its server again before it gives up."""

_LONGEST_WAIT_S = 300.0
_WELL_S = 600.0
"""Seconds that a server has to live for its next end to be the first in a row."""

_GOODBYE_S = 10.0


class EmbeddedServer:
    """A server in a process of its own. It is started at once and waited for later.

    Args:
        port: On loopback; a free one by default.
        is_whole: Whether it also plans scheduled nights, looks for dead ones and has pages.

    Attributes:
        password: What its clients send.
        has_ended: Set when it has ended for good, although nobody stopped it.

    Raises:
        EnvironmentFault: If the port is taken.
    """

    def __init__(self, port: int | None = None, *, is_whole: bool = False) -> None:
        try:
            self._listener = listen(port)
        except OSError as error:
            raise EnvironmentFault(
                f"expected port {port} to be free for Prefect's server, got: {error.strerror}",
                remedy="Name another port, or set PREFECT_API_URL to the server that is there.",
            ) from error
        self._port: int = self._listener.getsockname()[1]
        self._is_whole = is_whole
        self.password = server_password()
        self.has_ended = threading.Event()
        self._is_stopping = threading.Event()
        self._starting = threading.Lock()
        self._said: list[bytes] = []
        self._watcher: threading.Thread | None = None
        self._process = self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/api"

    @property
    def port(self) -> int:
        return self._port

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            EnvironmentFault: If it ends or does not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if answers(self.url):
                return
            time.sleep(0.05)
        self.stop()
        raise EnvironmentFault(
            f"the embedded Prefect server did not start; it said: {self._last_words() or 'nothing'}",
            remedy="Try `prefect server database reset -y`, or set PREFECT_API_URL to a running server.",
        )

    def keep_running(self, tell: Callable[[str], None], restarts: int | None = None) -> None:
        """Start it again, after growing waits, whenever it ends by itself.

        Args:
            tell: Takes a message for the person who watches.
            restarts: How often in a row at most; any number of times by default.
        """
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, args=(tell, restarts), daemon=True)
            self._watcher.start()

    def stop(self) -> None:
        """End it: gently while it answers, else by force."""
        with self._starting:
            self._is_stopping.set()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.poll() is None and answers(self.url):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_GOODBYE_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._listener.close()

    def kill(self) -> None:
        """End it by force."""
        self._is_stopping.set()
        self._process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.prefect_server.process", str(self._port), "--socket", str(descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[descriptor],
            env={**SERVER, **environment_of_pruning(), **os.environ, **self._environment()},
            start_new_session=True,  # Ctrl-C is for the night, which then still needs its server
        )
        self._listening = threading.Thread(target=self._listen, args=(process.stderr,), daemon=True)
        self._listening.start()
        return process

    def _environment(self) -> dict[str, str]:
        parts = _whole() if self._is_whole else {"PREFECT__SERVER_EPHEMERAL": "1"}
        # In the environment, which only its owner can read, unlike a command line.
        password = {"PREFECT_SERVER_API_AUTH_STRING": self.password}
        return {**environment_of_server(self._port), **parts, **password}

    def _watch(self, tell: Callable[[str], None], restarts: int | None) -> None:
        in_a_row = 0
        while True:
            started = time.monotonic()
            self._process.wait()
            in_a_row = 0 if time.monotonic() - started >= _WELL_S else in_a_row
            if self._is_stopping.is_set():
                return
            if restarts is not None and in_a_row >= restarts:
                self._listener.close()  # requests are refused from now on, instead of waiting
                self.has_ended.set()
                return
            tell("Prefect's server has ended by itself and is started again")
            if self._is_stopping.wait(_wait_before(in_a_row)):
                return
            in_a_row += 1
            with self._starting, contextlib.suppress(OSError):  # short of memory or processes, it is tried again
                if self._is_stopping.is_set():
                    return
                self._process = self._start()

    def _last_words(self) -> str:
        self._listening.join(1.0)
        return b"".join(self._said[-20:]).decode(errors="replace").strip()

    def _listen(self, pipe: IO[bytes] | None) -> None:
        for line in pipe or ():
            self._said.append(line)
            del self._said[:-100]


def _wait_before(in_a_row: int) -> float:
    return 0.0 if in_a_row == 0 else min(2.0**in_a_row, _LONGEST_WAIT_S)


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Return whether a server answers within some time, with or without the right password."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=timeout_s) as response:
            return response.status == 200
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


class PrefectServer:
    """The server to use: the one that Prefect's settings name, else an embedded one, which is started at once.

    Enter it as soon as a night is likely; call `connected` when the night begins.
    """

    def __enter__(self) -> PrefectServer:
        from prefect.settings import PREFECT_API_URL

        self._configured = PREFECT_API_URL.value()
        self._embedded = None if self._configured else EmbeddedServer()
        return self

    def __exit__(self, *_: object) -> None:
        if self._embedded is not None:
            self._embedded.stop()

    def kill(self) -> None:
        """End an embedded server by force: one that hangs would not notice that its client is gone."""
        if self._embedded is not None:
            self._embedded.kill()

    @contextlib.contextmanager
    def connected(self, tell: Callable[[str], None] = lambda _: None) -> Iterator[str]:
        """Wait for the server; inside, Prefect talks to it. Yields its address.

        Args:
            tell: Takes messages about a server that had to be started again.

        Raises:
            EnvironmentFault: If it does not answer.
        """
        from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

        if self._embedded is None:
            yield str(self._configured)
            return
        self._embedded.wait()
        self._embedded.keep_running(tell)
        # Logs that are sent late would find no server at the night's end, and complain on the terminal.
        quiet = temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False})
        with using_server(self._embedded), quiet, pruning():
            yield self._embedded.url


@contextlib.contextmanager
def using_server(server: EmbeddedServer) -> Iterator[None]:
    """Inside, Prefect talks to a server that this process started."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server.url, PREFECT_API_AUTH_STRING: server.password}):
        yield


@contextlib.contextmanager
def serve_forever(port: int | None, tell: Callable[[str], None]) -> Iterator[EmbeddedServer]:
    """The server of `overnight serve`, which other commands of this user find while the block lasts.

    Raises:
        EnvironmentFault: If it does not start.
    """
    server = EmbeddedServer(port or DEFAULT_PORT, is_whole=True)
    try:
        server.wait()
        server.keep_running(tell, RESTARTS)
        remember_served_port(server.port)
        with using_server(server), pruning():
            yield server
    finally:
        forget_served_port(server.port)
        server.stop()


def is_served() -> bool:
    """Return whether a server of this installation, which `standing_server` would use, takes connections."""
    if (port := served_port()) is None:
        return False
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def standing_server() -> Iterator[str]:
    """The server that goes on when this command ends: the one that Prefect's settings name, else `overnight serve`'s.

    Inside, Prefect talks to it. Yields its address.

    Raises:
        EnvironmentFault: If it does not answer, or refuses the password.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    if configured := PREFECT_API_URL.value():
        _require_access("Look at PREFECT_API_URL, or start that server: prefect server start")
        yield configured
        return
    port = served_port() or DEFAULT_PORT
    require_own_listener(port)
    url = f"http://127.0.0.1:{port}/api"
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: server_password()}):
        _require_access(
            "Start one in another terminal and leave it on: overnight serve. "
            "Or name one that is there: export PREFECT_API_URL=http://HOST:4200/api"
        )
        yield url


def _require_access(remedy: str) -> None:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    try:
        with get_client(sync_client=True) as client:
            if (fault := client.api_healthcheck()) is None:
                client.api_version()
                return
    except httpx.HTTPStatusError as error:
        answer = error.response
        raise EnvironmentFault(
            f"expected access to the Prefect server at {url}, got: {answer.status_code} {answer.reason_phrase}",
            remedy=password_remedy(),
        ) from error
    raise EnvironmentFault(f"schedules are kept by a Prefect server, and none answers at {url}: {fault}", remedy=remedy)


def password_remedy() -> str:
    """Return how to give the password of a server that was named."""
    return (
        "Give its password: export PREFECT_API_AUTH_STRING=USER:PASSWORD. That of a server that Overnight started on "
        f'this machine is in a file: export PREFECT_API_AUTH_STRING="$(cat {shlex.quote(str(password_file()))})"'
    )


def _whole() -> dict[str, str]:
    """Return where the pages are unpacked: the environment need not be writable."""
    from prefect.settings import PREFECT_HOME

    return {"PREFECT_SERVER_UI_STATIC_DIRECTORY": str(PREFECT_HOME.value() / "overnight-pages")}
