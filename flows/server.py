"""The embedded Prefect server: a process that ends with the night, whatever ends the night.

Prefect's own temporary server is left running when its client is killed. This one reads its standard input, and stops
at its end, which comes when the client is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO

from flows.environment import SERVER
from schemas.errors import EnvironmentFault

START_TIMEOUT_S = 120.0


class EmbeddedServer:
    """Started at once, waited for later, so that other things can be made ready meanwhile.

    Args:
        port: On loopback; a free one by default.
        is_whole: Whether it plans scheduled nights, looks for dead ones and has pages, too, which a night of its own
            does without.
    """

    def __init__(self, port: int | None = None, *, is_whole: bool = False) -> None:
        self._port = port or _free_port()
        parts = _whole(self._port) if is_whole else {"PREFECT__SERVER_EPHEMERAL": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.server", str(self._port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**SERVER, **os.environ, **parts, "PREFECT__SERVER_FINAL": "1"},
            start_new_session=True,  # Ctrl-C is for the night, which then still needs its server
        )
        self._said: list[bytes] = []
        threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/api"

    def wait(self) -> None:
        """Waits until it answers.

        Raises:
            EnvironmentFault: If it ends or does not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return
            time.sleep(0.05)
        self.stop()
        said = b"".join(self._said[-20:]).decode(errors="replace").strip()
        raise EnvironmentFault(
            f"the embedded Prefect server did not start; it said: {said or 'nothing'}",
            remedy="Try `prefect server database reset -y`, or set PREFECT_API_URL to a running server.",
        )

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _listen(self, pipe: IO[bytes] | None) -> None:
        for line in pipe or ():
            self._said.append(line)
            del self._said[:-100]


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

    @contextlib.contextmanager
    def connected(self) -> Iterator[str]:
        """Waits for the server; inside, Prefect talks to it. Yields its address.

        Raises:
            EnvironmentFault: If it does not answer.
        """
        from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

        if self._embedded is None:
            yield str(self._configured)
            return
        self._embedded.wait()
        # Logs that are sent late would find no server at the night's end, and complain on the terminal.
        with temporary_settings({PREFECT_API_URL: self._embedded.url, PREFECT_LOGGING_TO_API_ENABLED: False}):
            yield self._embedded.url


DEFAULT_PORT = 4200
"""Where `overnight serve`, as Prefect itself, has its server."""


@contextlib.contextmanager
def standing_server() -> Iterator[str]:
    """The server that goes on when this command ends: the one that Prefect's settings name, else `overnight serve`'s.

    Inside, Prefect talks to it. Yields its address.

    Raises:
        EnvironmentFault: If it does not answer.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    configured = PREFECT_API_URL.value()
    url = configured or f"http://127.0.0.1:{DEFAULT_PORT}/api"
    with temporary_settings({PREFECT_API_URL: url}):
        with get_client(sync_client=True) as client:
            fault = client.api_healthcheck()
        if fault is not None:
            raise EnvironmentFault(
                f"schedules are kept by a Prefect server, and none answers at {url}: {fault}",
                remedy="Look at PREFECT_API_URL, or start that server: prefect server start"
                if configured
                else "Start one in another terminal and leave it on: overnight serve. "
                "Or name one that is there: export PREFECT_API_URL=http://HOST:4200/api",
            )
        yield url


def _whole(port: int) -> dict[str, str]:
    """Where the pages find the server and are unpacked: the environment need not be writable."""
    from prefect.settings import PREFECT_HOME

    pages = PREFECT_HOME.value() / "overnight-pages"
    return {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(pages)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _serve(port: int) -> None:
    import uvicorn

    threading.Thread(target=_stop_with_client, daemon=True).start()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


def _stop_with_client() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(8)  # what a clean shutdown may take
    os._exit(0)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
