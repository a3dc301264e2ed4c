"""Control the Docker engine, or podman's, which has the same API. Only this module imports `docker`."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from schemas.errors import SandboxUnavailable
from tasks.evaluate import delivery
from tasks.evaluate.confinement import OWNER_LABEL, confinement
from tasks.evaluate.ownership import is_dead, owner
from tasks.evaluate.sandbox import Death, RunnerConfig
from tasks.evaluate.wire import Demultiplexer

if TYPE_CHECKING:
    import docker

RUN_LABEL = "overnight.run"
STARTER_LABEL = "overnight.starter"

EXAMINATION = "examination"
"""In place of the run's id, for containers that examine an image."""

_TIMEOUT_S = 60
"""Seconds to wait for one answer of the engine."""

_REMOVAL_S = 10.0
"""Seconds to wait until a killed container is gone."""

_PIECE = 4 * 2**20
"""Length of a piece of an image, bytes."""

_STDERR_CHARS = 2000
"""Maximum length of a runner's stored standard error, characters; it only writes there before it exits with an
error."""


def connect(*, connections: int = 10) -> Engine:
    """Connect to the first engine that answers: at DOCKER_HOST if that is set, otherwise at the usual sockets.

    Args:
        connections: Maximum number of open connections.

    Raises:
        SandboxUnavailable: If no engine answers.
    """
    import docker

    faults = []
    for host in _addresses():
        environment = {**os.environ, "DOCKER_HOST": host}
        try:
            with _translated_errors():
                client = docker.from_env(environment=environment, timeout=_TIMEOUT_S, max_pool_size=connections)
                client.ping()
                return Engine(client)
        except SandboxUnavailable as fault:
            faults.append(f"{host}: {fault.message}")
    raise SandboxUnavailable(f"no Docker engine answers ({'; '.join(faults)})", remedy=_ENGINE_REMEDY)


_ENGINE_REMEDY = "Start it, or let `make setup` find or start one; `overnight doctor` says what is missing."


_IMAGE_REMEDY = (
    "Overnight pulls no images: get your own image with `docker pull` or `docker build`, and overnight-sandbox with "
    "`make setup`; `docker images` lists the local images."
)


def _addresses() -> list[str]:
    """Return the addresses at which an engine may listen."""
    if named := os.environ.get("DOCKER_HOST"):
        return [named]
    home, runtime = Path.home(), Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    sockets = [
        Path("/var/run/docker.sock"),
        runtime / "docker.sock",
        home / ".docker/run/docker.sock",
        home / ".colima/default/docker.sock",
        home / ".orbstack/run/docker.sock",
        runtime / "podman/podman.sock",
        Path("/run/podman/podman.sock"),
    ]
    return [f"unix://{path}" for path in sockets if os.path.exists(path)] or [f"unix://{sockets[0]}"]


class Engine:
    """Client of one engine. Thread-safe."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._name = uuid.uuid4().hex
        self._has_started = False

    def describe(self) -> str:
        """Return the engine's name and version, and its number of cores and memory.

        Raises:
            SandboxUnavailable: If the engine does not answer.
        """
        with _translated_errors():
            info, version = self._client.info(), self._client.version()
        name = (version.get("Platform") or {}).get("Name") or "Docker"
        memory_gib = info.get("MemTotal", 0) / 1024**3
        return f"{name} {version.get('Version', '?')}, {info.get('NCPU', '?')} cores, {memory_gib:.0f} GiB"

    def require_image(self, image: str) -> str:
        """Return the id of a local image; no image is ever pulled.

        Raises:
            SandboxUnavailable: If there is no image of this name.
        """
        import docker.errors

        try:
            with _translated_errors():
                return str(self._client.images.get(image).id)
        except SandboxUnavailable as fault:
            if isinstance(fault.__cause__, docker.errors.NotFound):
                raise SandboxUnavailable(f"the engine has no image {image!r}", remedy=_IMAGE_REMEDY) from fault
            raise

    def require_runtime(self, runtime: str) -> None:
        """Check that the engine has a container runtime.

        Raises:
            SandboxUnavailable: If it does not have it.
        """
        with _translated_errors():
            info, is_podman = self._client.info(), self._is_podman
        known = sorted(info.get("Runtimes") or ())
        if is_podman:
            # Podman lists all runtimes in its configuration, but ignores the runtime that a container asks for.
            known = [str(info.get("DefaultRuntime"))]
        # The name of a containerd shim need not be listed: the engine looks for it when a container starts.
        if runtime not in known and not runtime.startswith("io.containerd."):
            raise SandboxUnavailable(
                f"the engine has no container runtime {runtime!r}; it has {', '.join(known) or 'none'}",
                remedy="Install it and register it with the engine (gVisor: `runsc install`, then restart the engine); "
                "`docker info` lists the registered runtimes. Podman uses one runtime for all containers: "
                "`podman --runtime NAME system service`.",
            )

    def has_image(self, image: str) -> bool:
        """Return whether there is a local image of this name.

        Raises:
            SandboxUnavailable: If the engine does not answer.
        """
        import docker.errors

        with _translated_errors():
            try:
                self._client.images.get(image)
            except docker.errors.ImageNotFound:
                return False
        return True

    def tag(self, image: str, name: str) -> None:
        """Give an image an additional name.

        Raises:
            SandboxUnavailable: If the engine does not answer, or lacks the image.
        """
        repository, _, tag = name.rpartition(":")
        with _translated_errors():
            self._client.images.get(image).tag(repository, tag)

    def build(self, context: IO[bytes], name: str, labels: dict[str, str]) -> None:
        """Build an image; commands of the build have no network.

        Args:
            context: Archive with a Dockerfile.
            name: Name of the image, with a tag.
            labels: Labels of the image.

        Raises:
            SandboxUnavailable: If the image cannot be built.
        """
        with _translated_errors():
            lines = self._client.api.build(
                fileobj=context,
                custom_context=True,
                tag=name,
                labels=labels,
                network_mode="none",
                rm=True,
                forcerm=True,
                decode=True,
            )
            for line in lines:
                if "error" in line:
                    raise SandboxUnavailable(
                        f"the engine could not build the image {name}: {line['error']}", remedy=_ENGINE_REMEDY
                    )

    def save(self, image: str) -> Iterator[bytes]:
        """Yield an image as an archive, in pieces.

        Raises:
            SandboxUnavailable: If the engine does not answer, or lacks the image.
        """
        with _translated_errors():
            yield from self._client.images.get(image).save(chunk_size=_PIECE)

    def load(self, archive: IO[bytes]) -> None:
        """Load the images of an archive.

        Raises:
            SandboxUnavailable: If the engine cannot load it.
        """
        with _translated_errors():
            self._client.images.load(archive)

    def run_python(self, image: str, code: str) -> tuple[str, str]:
        """Run Python code in an image, without network; return its standard output and standard error.

        Raises:
            SandboxUnavailable: If the engine failed; not if the image has no Python.
        """
        import docker.errors

        with _translated_errors():
            container = self._client.containers.create(
                image,
                ["-c", code],
                entrypoint=["python3"],
                network_mode="none",
                read_only=True,
                cap_drop=["ALL"],
                labels={RUN_LABEL: EXAMINATION, OWNER_LABEL: owner()},
            )
            try:
                container.start()
                container.wait(timeout=_TIMEOUT_S)
                return container.logs(stderr=False).decode(), container.logs(stdout=False).decode(errors="replace")
            except docker.errors.APIError as error:
                if "python3" in str(error):
                    return "", str(error.explanation)
                raise
            finally:
                container.remove(force=True)

    def start(self, config: RunnerConfig) -> Container:
        """Start a container that is attached to its standard input and output.

        Raises:
            SandboxUnavailable: If the container cannot be started.
        """
        import docker.errors

        self._has_started = True
        config = replace(config, labels={**config.labels, STARTER_LABEL: self._name})
        with _translated_errors():
            # Never with detach=True: it must be attached, so that its standard input closes, and the runner ends, when
            # this process dies.
            container = self._client.containers.create(
                config.image,
                list(delivery.arguments()),
                stdin_open=True,
                **confinement(config, limits_cpu=self._limits_cpu, is_podman=self._is_podman),
            )
            try:
                # Attached before it starts, so that no output is missed.
                stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
                container.start()
            except BaseException:
                with suppress(docker.errors.DockerException):
                    container.remove(force=True)
                raise
        return Container(self._client, str(container.id), stream)

    def sweep(self) -> int:
        """Remove the containers of all runs whose starting process is gone; return their number.

        Raises:
            SandboxUnavailable: If the engine does not answer.
        """
        return self._remove_matching(RUN_LABEL, lambda labels: is_dead(labels.get(OWNER_LABEL, "")))

    def close(self) -> None:
        """Close the client, after removing leftovers of containers that it started, as when the engine died."""
        if self._has_started:
            with suppress(SandboxUnavailable):
                self._remove_matching(f"{STARTER_LABEL}={self._name}", lambda _: True)
        self._client.close()

    def _remove_matching(self, label: str, matches: Callable[[dict[str, str]], bool]) -> int:
        with _translated_errors():
            found = self._client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
            chosen = [container for container in found if matches(container.labels)]
        for container in chosen:
            _remove(self._client, str(container.id))
        return len(chosen)

    @cached_property
    def _limits_cpu(self) -> bool:
        """Whether the engine can limit processor time; a rootless engine may lack the right."""
        return bool(self._client.info().get("CpuCfsQuota", False))

    @cached_property
    def _is_podman(self) -> bool:
        components = self._client.version().get("Components") or ()
        return any(component["Name"].startswith("Podman") for component in components)


class Container:
    """`Channel` to the runner of one container."""

    def __init__(self, client: docker.DockerClient, identifier: str, stream: Any) -> None:
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
            _remove(self._client, self._id)
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


def _remove(client: docker.DockerClient, identifier: str) -> None:
    """Kill and remove a container, and wait until it is gone; auto-removal may be faster."""
    import docker.errors

    until = time.monotonic() + _REMOVAL_S
    with _translated_errors():
        while time.monotonic() < until:
            try:
                client.api.remove_container(identifier, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError:
                # The removal is in progress.
                time.sleep(0.02)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise `SandboxUnavailable` for any error of the SDK, with the original error as its cause."""
    import docker.errors

    try:
        yield
    # Errors of the HTTP library below the SDK are OSErrors.
    except (docker.errors.DockerException, OSError) as error:
        reason = getattr(error, "explanation", None) or _root_cause(error)
        raise SandboxUnavailable(f"the Docker engine refused or failed: {reason}", remedy=_ENGINE_REMEDY) from error


def _root_cause(error: BaseException) -> str:
    """Return the operating system's message of the innermost error, or else the error's own text."""
    cause = error
    while below := cause.__cause__ or cause.__context__:
        cause = below
    return getattr(cause, "strerror", None) or str(error)
