"""Prefect server of a night or of `overnight schedule serve`, as a child process that ends with its parent.

Prefect's own temporary server keeps running when its client is killed. This one ends with its parent, and is restarted
when it ends unexpectedly. The parent holds the listening socket, so that the address stays the same and requests that
arrive during a restart wait for their answer.
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
from collections.abc import Callable, Iterator
from typing import IO

from overnight.flows.environment import SERVER_VARIABLES
from overnight.flows.prefect_server.access import (
    forget_served_port,
    may_be_set,
    password_file,
    remember_served_port,
    require_own_listener,
    served_port,
    server_password,
)
from overnight.flows.prefect_server.connection import answers
from overnight.flows.prefect_server.process import METRICS_HISTORY, environment_of_server, listen
from overnight.flows.prefect_server.pruning import environment_of_pruning, forget_run, pruning
from overnight.schemas.errors import EnvironmentFault

START_TIMEOUT_S = 120.0
DEFAULT_PORT = 4200
"""Port of the server of `overnight schedule serve`; it is Prefect's own default."""

RESTARTS = 5
"""Restarts in a row after which `overnight schedule serve` gives up on its server."""

_MAX_WAIT_S = 300.0
_STABLE_S = 600.0
"""Seconds of uptime after which restarts are counted from 0 again."""

_SHUTDOWN_S = 10.0
"""Seconds that a server which still answers has to shut down before it is killed."""


class EmbeddedServer:
    """Prefect server in a child process. It is started by the constructor; `wait` waits until it answers.

    Args:
        port: Port on loopback; a free one by default.
        with_services: Whether it also runs the scheduler, crash detection and Prefect's UI.
        metrics_of: History whose metrics it shows; none if empty.

    Attributes:
        has_ended: Event that is set when it has ended unexpectedly and is not restarted any more.

    Raises:
        EnvironmentFault: If the port is taken.
    """

    def __init__(self, port: int | None = None, *, with_services: bool = False, metrics_of: str = "") -> None:
        try:
            self._listener = listen(port)
        except OSError as error:
            raise EnvironmentFault(
                f"expected port {port} to be free for Prefect's server, got: {error.strerror}",
                remedy="Name another port, or set PREFECT_API_URL to the server at this port.",
            ) from error
        self.port: int = self._listener.getsockname()[1]
        self._with_services = with_services
        self._metrics_of = metrics_of
        self.password = server_password()
        self.has_ended = threading.Event()
        self._is_stopping = threading.Event()
        self._start_lock = threading.Lock()
        self._output: list[bytes] = []
        self._restarter: threading.Thread | None = None
        self._stop_by: float | None = None
        self._process = self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        """Wait until the server answers; raise an EnvironmentFault if it ends, or does not answer within 120 s."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if answers(self.url):
                return
            time.sleep(0.05)
        self.stop()
        raise EnvironmentFault(
            f"the embedded Prefect server did not start; its output: {self._last_output() or 'none'}",
            remedy="Run the command again. If it fails again, set PREFECT_API_URL to a running server, or PREFECT_HOME "
            "to a new folder; `prefect server database reset -y` empties its database, with all schedules.",
        )

    def keep_running(self, report: Callable[[str], None], max_restarts: int | None = None) -> None:
        """Restart the server, after growing waits, whenever it ends unexpectedly, but so often in a row at most."""
        if self._restarter is None:
            self._restarter = threading.Thread(target=self._restart, args=(report, max_restarts), daemon=True)
            self._restarter.start()

    def begin_stop(self) -> None:
        """Tell the server to end, if it answers; `stop` waits for it."""
        with self._start_lock:
            self._is_stopping.set()
        if self._stop_by is None and self._process.poll() is None and answers(self.url):
            self._stop_by = time.monotonic() + _SHUTDOWN_S
        if self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self) -> None:
        """End the server: gracefully if it answers, else by force."""
        self.begin_stop()
        if self._stop_by is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=max(0.0, self._stop_by - time.monotonic()))
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._listener.close()

    def kill(self) -> None:
        self._is_stopping.set()
        self._process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._listener.fileno()
        command = [sys.executable, "-P", "-m", "overnight.flows.prefect_server.process", str(self.port)]
        process = subprocess.Popen(
            [*command, "--socket", str(descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[descriptor],
            env={**SERVER_VARIABLES, **environment_of_pruning(), **os.environ, **self._environment()},
            start_new_session=True,  # Ctrl-C reaches only the night, which still needs its server then
        )
        self._reader = threading.Thread(target=self._read_output, args=(process.stderr,), daemon=True)
        self._reader.start()
        return process

    def _environment(self) -> dict[str, str]:
        services = _environment_of_ui() if self._with_services else _environment_of_night()
        # Unlike a command line, only its owner can read a process's environment.
        password = {"PREFECT_SERVER_API_AUTH_STRING": self.password}
        return {**environment_of_server(self.port), **services, **password, METRICS_HISTORY: self._metrics_of}

    def _restart(self, report: Callable[[str], None], max_restarts: int | None) -> None:
        in_a_row = 0
        while True:
            started = time.monotonic()
            self._process.wait()
            in_a_row = 0 if time.monotonic() - started >= _STABLE_S else in_a_row
            if self._is_stopping.is_set():
                return
            if max_restarts is not None and in_a_row >= max_restarts:
                self._listener.close()  # further requests are refused instead of waiting
                self.has_ended.set()
                return
            report("Prefect's server has ended unexpectedly and is restarted")
            if self._is_stopping.wait(min(2.0**in_a_row, _MAX_WAIT_S) if in_a_row else 0.0):
                return
            in_a_row += 1
            with self._start_lock, contextlib.suppress(OSError):  # without memory or processes: retried by the loop
                if self._is_stopping.is_set():
                    return
                self._process = self._start()

    def _last_output(self) -> str:
        self._reader.join(1.0)
        return b"".join(self._output[-20:]).decode(errors="replace").strip()

    def _read_output(self, pipe: IO[bytes] | None) -> None:
        for line in pipe or ():
            self._output.append(line)
            del self._output[:-100]


class PrefectServer:
    """Server of some nights, one after another: the one that Prefect's settings name, else an embedded one.

    Entering the context starts an embedded server, so enter it as soon as a night is likely. Call `connected` when the
    night begins.
    """

    def __init__(self, nights: int = 1) -> None:
        self._nights = nights
        self._url = ""

    def __enter__(self) -> PrefectServer:
        self._configured: str | None = None
        if may_be_set("PREFECT_API_URL"):
            from prefect.settings import PREFECT_API_URL  # slow: the embedded server starts without it

            self._configured = PREFECT_API_URL.value()
        self._embedded = None if self._configured else EmbeddedServer()
        return self

    def __exit__(self, *_: object) -> None:
        if self._embedded is not None:
            self._embedded.stop()

    def kill(self) -> None:
        """End an embedded server by force, since one that hangs would not notice the end of its parent."""
        if self._embedded is not None:
            self._embedded.kill()

    def answers(self) -> bool:
        """Return whether it answers within a second, or has not been waited for yet."""
        return not self._url or answers(self._url)

    def forget(self, run_id: str) -> None:
        """Delete the flow runs of a run, while the server is connected."""
        forget_run(run_id)

    @contextlib.contextmanager
    def connected(self, report: Callable[[str], None] = lambda _: None) -> Iterator[str]:
        """Wait for the server and yield its address; Prefect uses it meanwhile. `report` tells of restarts."""
        from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

        if self._embedded is None:
            self._url = str(self._configured)
            yield self._url
            return
        self._embedded.wait()
        self._url = self._embedded.url
        self._embedded.keep_running(report)
        # Logs that are sent late would find the server stopped, and print errors on the terminal.
        quiet = temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False})
        with using_server(self._embedded), quiet, pruning():
            yield self._url
        self._nights -= 1
        if self._nights <= 0:
            self._embedded.begin_stop()  # it ends while the rest of the night is cleaned up


@contextlib.contextmanager
def using_server(server: EmbeddedServer) -> Iterator[None]:
    """Point Prefect's settings at a server of this process while the block lasts."""
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
        PREFECT_SERVER_CSRF_PROTECTION_ENABLED,
        temporary_settings,
    )

    with temporary_settings(
        {
            PREFECT_API_URL: server.url,
            PREFECT_API_AUTH_STRING: server.password,
            # Otherwise each new client asks for a token first, and is told that there is none.
            PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: PREFECT_SERVER_CSRF_PROTECTION_ENABLED.value(),
        }
    ):
        yield


@contextlib.contextmanager
def serve_forever(port: int | None, report: Callable[[str], None], *, metrics_of: str = "") -> Iterator[EmbeddedServer]:
    """Run the server of `overnight schedule serve` while the block lasts; this user's other commands use it."""
    server = EmbeddedServer(port or DEFAULT_PORT, with_services=True, metrics_of=metrics_of)
    try:
        server.wait()
        server.keep_running(report, RESTARTS)
        remember_served_port(server.port)
        with using_server(server), pruning():
            yield server
    finally:
        forget_served_port(server.port)
        server.stop()


def is_served() -> bool:
    """Return whether the server of `overnight schedule serve` accepts connections."""
    if (port := served_port()) is None:
        return False
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def standing_server() -> Iterator[str]:
    """Yield the address of a server that outlives this command, and have Prefect use it while the block lasts.

    It is the server that Prefect's settings name, else the one of `overnight schedule serve`.

    Raises:
        EnvironmentFault: If it does not answer, or refuses the password.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    if configured := PREFECT_API_URL.value():
        _require_access("Check PREFECT_API_URL, or start that server: prefect server start")
        yield configured
        return
    port = served_port() or DEFAULT_PORT
    require_own_listener(port)
    url = f"http://127.0.0.1:{port}/api"
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: server_password()}):
        _require_access(
            "Start one in another terminal and leave it running: overnight schedule serve. "
            "Or name a running one: export PREFECT_API_URL=http://HOST:4200/api"
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
    raise EnvironmentFault(f"a Prefect server keeps the schedules, and none answers at {url}: {fault}", remedy=remedy)


def password_remedy() -> str:
    """Return the remedy for a wrong or missing password of a configured server."""
    file = shlex.quote(str(password_file()))
    return (
        "Set its password: export PREFECT_API_AUTH_STRING=USER:PASSWORD. If Overnight started the server on this "
        f'machine, the password is in a file: export PREFECT_API_AUTH_STRING="$(cat {file})"'
    )


def _environment_of_ui() -> dict[str, str]:
    """Return the variables that unpack Prefect's UI in PREFECT_HOME, since the environment may be read-only."""
    from prefect.settings import PREFECT_HOME

    return {"PREFECT_SERVER_UI_STATIC_DIRECTORY": str(PREFECT_HOME.value() / "overnight-pages")}


def _environment_of_night() -> dict[str, str]:
    """Return the variables of a server that ends with its night: no one has automations there, whose service takes an
    eighth of its start.
    """
    triggers = "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED"
    return {"PREFECT__SERVER_EPHEMERAL": "1", triggers: os.environ.get(triggers, "false")}
