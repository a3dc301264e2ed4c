"""Process of a Prefect server: on loopback, behind a password, with a database that only its owner can read.

    python -m overnight.flows.prefect_server.process PORT

Overnight starts it with a listening socket and a pipe as standard input. The process ends when the pipe is closed, so
that it never outlives its night. The systemd unit starts it with a port only, and stops it itself.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from overnight.flows.environment import SERVER_VARIABLES, prepare
from overnight.flows.prefect_server.access import forget_served_port, remember_served_port, server_password
from overnight.flows.prefect_server.lock_retries import LockRetries
from overnight.flows.prefect_server.pruning import environment_of_pruning
from overnight.flows.prefect_server.request_guard import LocalGuard, own_origins

if TYPE_CHECKING:
    import uvicorn

METRICS_HISTORY = "OVERNIGHT_METRICS_HISTORY"
"""Environment variable with the history whose metrics the server shows; without it, it shows none."""

_SHUTDOWN_S = 8.0
_PASSWORD = "PREFECT_SERVER_API_AUTH_STRING"  # Prefect reads it once, when it is imported
_DATABASE_FILES = ("", "-wal", "-shm", "-journal")


def environment_of_server(port: int) -> dict[str, str]:
    """Return the environment variables of a Prefect server at a port of loopback, without the password."""
    return {
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(own_origins(port)),
        "PREFECT__SERVER_FINAL": "1",
    }


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens on loopback, at a free port by default."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port or 0))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def secure_database() -> None:
    """Make the database files readable by their owner only, both existing and future ones."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_HOME

    os.umask(0o077)
    home = PREFECT_HOME.value()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _restrict(home, 0o700)
    url = PREFECT_API_DATABASE_CONNECTION_URL.value() or ""
    scheme, _, path = url.partition(":///")
    if not scheme.startswith("sqlite") or not path or ":memory:" in path:
        return
    for suffix in _DATABASE_FILES:
        _restrict(Path(path.partition("?")[0] + suffix), 0o600)


def _restrict(path: Path, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != mode:
            path.chmod(mode)


def _server(port: int) -> uvicorn.Server:
    import uvicorn
    from prefect.server.api.server import create_app

    class OneAtATime(uvicorn.Server):
        """Server that starts while no other one of this home does: two would migrate a new database at once."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            with _start_lock():
                await super().startup(sockets)

    app = create_app()
    if history := os.environ.get(METRICS_HISTORY):
        from overnight.flows.prefect_server.metrics import add_metrics

        add_metrics(cast("Any", app).api_app, history)
    application = LocalGuard(LockRetries(app), port)
    config = uvicorn.Config(application, log_level="error", lifespan="on", server_header=False)  # pyright: ignore[reportArgumentType]
    return OneAtATime(config)


@contextlib.contextmanager
def _start_lock() -> Iterator[None]:
    """Wait for the lock of the servers of Prefect's home, and hold it while the block lasts."""
    from prefect.settings import PREFECT_HOME

    with (PREFECT_HOME.value() / "overnight-server-start.lock").open("w") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SHUTDOWN_S)
    os._exit(0)


def _prepare_alone(port: int) -> None:
    """Set the environment that a night would set for its server; restart the process to add a missing password."""
    prepare()
    os.environ.update({**SERVER_VARIABLES, **environment_of_pruning(), **os.environ, **environment_of_server(port)})
    if not os.environ.get(_PASSWORD):
        os.environ[_PASSWORD] = server_password()
        os.execv(sys.executable, [sys.executable, "-P", "-m", "overnight.flows.prefect_server.process", str(port)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m overnight.flows.prefect_server.process")
    parser.add_argument("port", type=int)
    parser.add_argument("--socket", type=int, help="descriptor of a socket that listens; ends with standard input")
    arguments = parser.parse_args()
    port: int = arguments.port
    if arguments.socket is None:
        _prepare_alone(port)
        listener = listen(port)
        remember_served_port(port)
    else:
        threading.Thread(target=_end_with_standard_input, daemon=True).start()
        listener = socket.socket(fileno=arguments.socket)
    secure_database()
    gc.disable()  # while the server is loaded, it takes a quarter of the time and finds nothing
    server = _server(port)
    gc.freeze()
    gc.enable()
    try:
        server.run(sockets=[listener])
    finally:
        if arguments.socket is None:
            forget_served_port(port)


if __name__ == "__main__":
    main()
