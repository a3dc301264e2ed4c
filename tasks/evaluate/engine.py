"""The Docker engine, or podman's, which speaks the same: the only module that imports `docker`."""

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
from tasks.evaluate.confinement import OWNER_LABEL, ContainerConfig, confinement
from tasks.evaluate.ownership import is_dead
from tasks.evaluate.sandbox import Death
from tasks.evaluate.wire import Demultiplexer

if TYPE_CHECKING:
    import docker

RUN_LABEL = "overnight.run"
STARTER_LABEL = "overnight.starter"

_TIMEOUT_S = 60
"""Seconds for one answer of the engine."""

_REMOVAL_S = 10.0
"""Seconds to wait until a killed container is gone."""

_COMPLAINT = 2000
"""Characters of a runner's standard error that are kept: it writes there only before it gives up."""


def connect(*, connections: int = 10) -> Engine:
    """A client of the first engine that answers: at DOCKER_HOST if that is set, else where engines usually listen.

    Args:
        connections: To keep open at the same time.

    Raises:
        SandboxUnavailable: If none answers.
    """
    import docker

    faults = []
    for host in _addresses():
        environment = {**os.environ, "DOCKER_HOST": host}
        try:
            with _faults():
                client = docker.from_env(environment=environment, timeout=_TIMEOUT_S, max_pool_size=connections)
                client.ping()
                return Engine(client)
        except SandboxUnavailable as fault:
            faults.append(f"{host}: {fault.message}")
    raise SandboxUnavailable(f"no Docker engine answers ({'; '.join(faults)})", remedy=_ENGINE_REMEDY)


_ENGINE_REMEDY = "Start it, or let `make setup` find or start one; `overnight doctor` says what is missing."


_IMAGE_REMEDY = (
    "Nothing is pulled: an image of your own is fetched with `docker pull` or made with `docker build`, "
    "overnight-sandbox with `make setup`; `docker images` lists what is there."
)


def _addresses() -> list[str]:
    """Where to look for an engine."""
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
    """One engine. Thread-safe."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._name = uuid.uuid4().hex
        self._has_started = False

    def describe(self) -> str:
        """Name and version of the engine, and the cores and memory it has.

        Raises:
            SandboxUnavailable: If it does not answer.
        """
        with _faults():
            info, version = self._client.info(), self._client.version()
        name = (version.get("Platform") or {}).get("Name") or "Docker"
        memory_gib = info.get("MemTotal", 0) / 1024**3
        return f"{name} {version.get('Version', '?')}, {info.get('NCPU', '?')} cores, {memory_gib:.0f} GiB"

    def require_image(self, image: str) -> str:
        """The id of a local image; nothing is ever pulled.

        Raises:
            SandboxUnavailable: If there is none of this name.
        """
        import docker.errors

        try:
            with _faults():
                return str(self._client.images.get(image).id)
        except SandboxUnavailable as fault:
            if isinstance(fault.__cause__, docker.errors.NotFound):
                raise SandboxUnavailable(f"the engine has no image {image!r}", remedy=_IMAGE_REMEDY) from fault
            raise

    def require_runtime(self, runtime: str) -> None:
        """Makes sure that the engine knows a runtime.

        Raises:
            SandboxUnavailable: If it does not.
        """
        with _faults():
            info, is_podman = self._client.info(), self._is_podman
        known = sorted(info.get("Runtimes") or ())
        if is_podman:
            # It lists all it has heard of, and heeds no container's wish for one.
            known = [str(info.get("DefaultRuntime"))]
        # The name of a containerd shim may stand for one that is not listed: the engine looks for it when it starts.
        if runtime not in known and not runtime.startswith("io.containerd."):
            raise SandboxUnavailable(
                f"the engine has no container runtime {runtime!r}; it has {', '.join(known) or 'none'}",
                remedy="Install it and make it known to the engine (gVisor: `runsc install`, then restart the engine); "
                "`docker info` lists what it has. Podman has one for all: `podman --runtime NAME system service`.",
            )

    def has_image(self, image: str) -> bool:
        """Whether there is a local image of this name.

        Raises:
            SandboxUnavailable: If the engine does not answer.
        """
        import docker.errors

        with _faults():
            try:
                self._client.images.get(image)
            except docker.errors.ImageNotFound:
                return False
        return True

    def tag(self, image: str, name: str) -> None:
        """Give an image one more name.

        Raises:
            SandboxUnavailable: If the engine does not answer, or lacks the image.
        """
        repository, _, tag = name.rpartition(":")
        with _faults():
            self._client.images.get(image).tag(repository, tag)

    def build(self, context: IO[bytes], name: str, labels: dict[str, str]) -> None:
        """Makes an image; what runs meanwhile has no network.

        Args:
            context: An archive with a Dockerfile.
            name: The image's, with a tag.
            labels: By which it is found again.

        Raises:
            SandboxUnavailable: If it cannot be made.
        """
        with _faults():
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
                        f"the engine could not make the image {name}: {line['error']}", remedy=_ENGINE_REMEDY
                    )

    def run_python(self, image: str, code: str) -> tuple[str, str]:
        """What a few lines of Python print in an image, and what it complains of; it has no network.

        Raises:
            SandboxUnavailable: If the engine failed, but not if the image has no Python.
        """
        import docker.errors

        with _faults():
            container = self._client.containers.create(
                image, ["-c", code], entrypoint=["python3"], network_mode="none", read_only=True, cap_drop=["ALL"]
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

    def start(self, setup: ContainerConfig) -> Container:
        """Starts a container with its standard input and output in our hand.

        Raises:
            SandboxUnavailable: If it cannot be started.
        """
        import docker.errors

        self._has_started = True
        setup = replace(setup, labels={**setup.labels, STARTER_LABEL: self._name})
        with _faults():
            # Never with detach=True: only so is standard input closed, and the runner ended, when this process dies.
            container = self._client.containers.create(
                setup.image,
                list(delivery.arguments()),
                stdin_open=True,
                **confinement(setup, limits_cpu=self._limits_cpu, is_podman=self._is_podman),
            )
            try:
                # Attached before it starts, so that nothing it says is missed.
                stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
                container.start()
            except BaseException:
                with suppress(docker.errors.DockerException):
                    container.remove(force=True)
                raise
        return Container(self._client, str(container.id), stream)

    def sweep(self) -> int:
        """Removes the containers that processes which are gone left, of whatever run; how many.

        Raises:
            SandboxUnavailable: If the engine does not answer.
        """
        return self._remove_those(RUN_LABEL, lambda labels: is_dead(labels.get(OWNER_LABEL, "")))

    def close(self) -> None:
        """Also removes what is left of the containers it started, as where the engine died while it made one."""
        if self._has_started:
            with suppress(SandboxUnavailable):
                self._remove_those(f"{STARTER_LABEL}={self._name}", lambda _: True)
        self._client.close()

    def _remove_those(self, label: str, which: Callable[[dict[str, str]], bool]) -> int:
        with _faults():
            found = self._client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
            chosen = [container for container in found if which(container.labels)]
        for container in chosen:
            _remove(self._client, str(container.id))
        return len(chosen)

    @cached_property
    def _limits_cpu(self) -> bool:
        """Whether the engine may limit processor time; a rootless one may not."""
        return bool(self._client.info().get("CpuCfsQuota", False))

    @cached_property
    def _is_podman(self) -> bool:
        components = self._client.version().get("Components") or ()
        return any(component["Name"].startswith("Podman") for component in components)


class Container:
    """One container's `Channel`."""

    def __init__(self, client: docker.DockerClient, identifier: str, stream: Any) -> None:
        self._client = client
        self._id = identifier
        self._stream = stream
        # The SDK hides the socket, whose time-outs are needed, in a file of its own; not so over TLS.
        self._socket: socket.socket = getattr(stream, "_sock", stream)
        self._demultiplexer = Demultiplexer()
        self._complaint = b""
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
            output, complaint = self._demultiplexer.feed(data)
            self._complaint = (self._complaint + complaint)[-_COMPLAINT:]
            if output:
                return output

    def death(self, *, since_s: float) -> Death:
        """Asks the engine's own record, which outlives the container."""
        until = time.time() + 0.5
        filters = {"container": self._id, "event": ["oom", "die"]}
        happened: dict[str, Any] = {}
        # A dying engine's stream raises what it likes, and this is only to explain: the death stands anyway.
        with suppress(Exception):
            # Until a moment from now: the record may come after the end of the stream.
            for event in self._client.events(
                since=f"{since_s:.6f}", until=f"{until:.6f}", filters=filters, decode=True
            ):
                happened[event.get("Action", "")] = event
                if event.get("Action") == "die":
                    break
        code = happened.get("die", {}).get("Actor", {}).get("Attributes", {}).get("exitCode", "unknown")
        said = self._complaint.decode(errors="replace").strip()
        reason = f"the container ended with exit code {code}" + (f": {said}" if said else "")
        return Death(reason, out_of_memory="oom" in happened and code == "137")

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        # Another thread may be waiting for the candidate: it now sees the end of the stream.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(SandboxUnavailable):
            _remove(self._client, self._id)
        with suppress(OSError):
            self._stream.close()
        self._socket.close()


def _remove(client: docker.DockerClient, identifier: str) -> None:
    """Kills a container and waits until it is gone, which auto-removal may do before us."""
    import docker.errors

    until = time.monotonic() + _REMOVAL_S
    with _faults():
        while time.monotonic() < until:
            try:
                client.api.remove_container(identifier, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError:
                # Its removal is in progress.
                time.sleep(0.02)


@contextmanager
def _faults() -> Iterator[None]:
    """Turns whatever the SDK raises into one error of ours, with the original as its cause."""
    import docker.errors

    try:
        yield
    # Those of the HTTP library below the SDK are OSErrors.
    except (docker.errors.DockerException, OSError) as error:
        said = getattr(error, "explanation", None) or _root(error)
        raise SandboxUnavailable(f"the Docker engine refused or failed: {said}", remedy=_ENGINE_REMEDY) from error


def _root(error: BaseException) -> str:
    """What the system said, below what libraries made of it."""
    cause = error
    while below := cause.__cause__ or cause.__context__:
        cause = below
    return getattr(cause, "strerror", None) or str(error)
