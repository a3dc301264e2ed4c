"""Connect to the Docker engine, or to podman's, which has the same API, and to the containers that it runs.

Only this module and `engine_images.py` import `docker`; `backends/docker.py` is the backend that is built on them.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overnight.schemas.errors import SandboxUnavailable
from overnight.tasks.evaluate.delivery import Demultiplexer
from overnight.tasks.evaluate.sandbox import Death

if TYPE_CHECKING:
    from docker import DockerClient

DEFAULT_SOCKET = Path("/var/run/docker.sock")
PODMAN_SOCKET = Path("/run/podman/podman.sock")

TIMEOUT_S = 60
"""Seconds to wait for one answer of the engine."""

_REMOVAL_S = 10.0
"""Seconds to wait until a killed container is gone."""

_STDERR_CHARS = 2000
"""Maximum length of a runner's stored standard error, characters; it only writes there before it exits with an
error."""

ENGINE_REMEDY = (
    "Start it, or install one, such as docker.io of Debian, Docker Desktop, colima or podman; "
    "`overnight doctor` says what is missing."
)

_NO_ENGINE_REMEDY = (
    f"{ENGINE_REMEDY} To try things out without an engine: --sandbox process, whose candidates are hardly "
    "confined (on Linux; tasks/evaluate/README.md)."
)


def connect(connections: int, timeout_s: int = TIMEOUT_S) -> DockerClient:
    """Connect to the first engine that answers of those in `addresses()`.

    Args:
        connections: Maximum number of open connections.
        timeout_s: Time to wait for one answer, seconds.

    Raises:
        SandboxUnavailable: If no engine answers.
    """
    faults = []
    for host in addresses():
        try:
            return connect_to(host, connections, timeout_s)
        except SandboxUnavailable as fault:
            faults.append(f"{host}: {fault.message}")
    raise SandboxUnavailable(f"no Docker engine answers ({'; '.join(faults)})", remedy=_NO_ENGINE_REMEDY)


def connect_to(host: str, connections: int, timeout_s: int) -> DockerClient:
    """Connect to the engine at an address, with the TLS settings in the DOCKER_* variables.

    Raises:
        SandboxUnavailable: If it does not answer.
    """
    import docker.errors  # as everywhere here: threads that import parts in another order wait for each other

    with translated_errors():
        environment = {**os.environ, "DOCKER_HOST": host}
        client = docker.from_env(environment=environment, timeout=timeout_s, max_pool_size=connections)
        client.ping()
        return client


def addresses() -> list[str]:
    """Return the addresses at which an engine may listen: DOCKER_HOST alone, if it is set.

    Otherwise these are the one of the docker command's context, then the sockets of common products that are there.
    """
    if named := os.environ.get("DOCKER_HOST"):
        return [named]
    home, runtime = Path.home(), Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    sockets = [
        DEFAULT_SOCKET,
        runtime / "docker.sock",  # rootless Docker
        home / ".docker/run/docker.sock",  # Docker Desktop
        home / ".docker/desktop/docker.sock",
        home / ".colima/default/docker.sock",
        home / ".config/colima/default/docker.sock",
        home / ".orbstack/run/docker.sock",
        home / ".rd/docker.sock",  # Rancher Desktop
        runtime / "podman/podman.sock",
        PODMAN_SOCKET,
        home / ".local/share/containers/podman/machine/podman.sock",
    ]
    known = [*_context_host(), *(f"unix://{socket}" for socket in sockets if os.path.exists(socket))]
    return list(dict.fromkeys(known)) or [f"unix://{DEFAULT_SOCKET}"]


def _context_host() -> list[str]:
    """Return the address of the docker command's current context, unless that is its default."""
    import docker.errors
    from docker.context import ContextAPI

    try:
        context = ContextAPI.get_current_context()
    except (docker.errors.DockerException, OSError, ValueError, LookupError):
        # A damaged ~/.docker affects the docker command only.
        return []
    return [context.Host] if context is not None and context.Name != "default" and context.Host else []


def start_attached(client: DockerClient, image: str, command: list[str], arguments: Mapping[str, Any]) -> Container:
    """Start a container that is attached to its standard input and output.

    Args:
        client: Client of the engine.
        image: Name of the image.
        command: Its command.
        arguments: Further arguments of its creation.
    """
    import docker.errors

    # Never with detach=True: it must be attached, so that its standard input closes, and the runner ends, when this
    # process dies.
    container = client.containers.create(image, command, stdin_open=True, **arguments)
    try:
        # Attached before it starts, so that no output is missed.
        stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        container.start()
    except BaseException:
        with suppress(docker.errors.DockerException):
            container.remove(force=True)
        raise
    return Container(client, str(container.id), stream)


class Container:
    """`Channel` to the runner of one container.

    Args:
        client: Client of the engine.
        identifier: Id of the container.
        stream: Its standard input and output, as the SDK attaches them.
    """

    def __init__(self, client: DockerClient, identifier: str, stream: Any) -> None:
        self._client = client
        self._id = identifier
        self._stream = stream
        # The SDK wraps the socket, whose time-outs are needed, in a file object, except over TLS.
        self._socket: socket.socket = getattr(stream, "_sock", stream)
        self._demultiplexer = Demultiplexer()
        self._stderr = b""
        self._lock = threading.Lock()
        self._closed = False

    def send(self, data: bytes, *, timeout_s: float) -> None:
        self._socket.settimeout(timeout_s)
        self._socket.sendall(data)

    def receive(self, *, timeout_s: float) -> bytes:
        until = time.monotonic() + timeout_s
        while True:
            self._socket.settimeout(max(0.01, until - time.monotonic()))
            data = self._socket.recv(65536)
            if not data:
                return b""
            output, stderr = self._demultiplexer.feed(data)
            self._stderr = (self._stderr + stderr)[-_STDERR_CHARS:]
            if output:
                return output

    def death(self, *, since_s: float) -> Death:
        """Find the reason in the engine's event log, which outlives the container."""
        until = time.time() + 0.5
        filters = {"container": self._id, "event": ["oom", "die"]}
        events: dict[str, Any] = {}
        # The stream of a dying engine may raise any error, and the events only help to explain the death.
        with suppress(Exception):
            # Until a moment from now, because the event may come after the end of the stream.
            for event in self._client.events(
                since=f"{since_s:.6f}", until=f"{until:.6f}", filters=filters, decode=True
            ):
                events[event.get("Action", "")] = event
                if event.get("Action") == "die":
                    break
        code = events.get("die", {}).get("Actor", {}).get("Attributes", {}).get("exitCode", "unknown")
        stderr = self._stderr.decode(errors="replace").strip()
        reason = f"the container ended with exit code {code}" + (f": {stderr}" if stderr else "")
        return Death(reason, out_of_memory="oom" in events and code == "137")

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        # Another thread may be waiting for the candidate; it now sees the end of the stream.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(SandboxUnavailable):
            remove(self._client, self._id)
        with suppress(OSError):
            self._close_response()
            self._stream.close()
        self._socket.close()

    def _close_response(self) -> None:
        """Close the HTTP response that the SDK keeps with the stream.

        Python 3.13 prints an error when it deletes a response whose stream was closed before it.
        """
        if (response := getattr(self._stream, "_response", None)) is not None:
            response.close()


def remove(client: DockerClient, identifier: str) -> None:
    """Kill and remove a container, and wait until it is gone; auto-removal may be faster."""
    import docker.errors

    until = time.monotonic() + _REMOVAL_S
    with translated_errors():
        while time.monotonic() < until:
            try:
                client.api.remove_container(identifier, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError:
                # The removal is in progress.
                time.sleep(0.02)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise `SandboxUnavailable` for any error of the SDK, with the original error as its cause."""
    import docker.errors

    try:
        yield
    # Errors of the HTTP library below the SDK are OSErrors.
    except (docker.errors.DockerException, OSError) as error:
        reason = getattr(error, "explanation", None) or _root_cause(error)
        raise SandboxUnavailable(f"the Docker engine refused or failed: {reason}", remedy=ENGINE_REMEDY) from error


def _root_cause(error: BaseException) -> str:
    """Return the operating system's message of the innermost error, or else the error's own text."""
    cause = error
    while below := cause.__cause__ or cause.__context__:
        cause = below
    return getattr(cause, "strerror", None) or str(error)
