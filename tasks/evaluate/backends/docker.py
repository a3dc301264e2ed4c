"""The backend `docker`: containers of the Docker engine, or of podman's, which has the same API."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.files import File
from overnight.schemas.settings import Sandbox
from overnight.tasks.evaluate import delivery, images
from overnight.tasks.evaluate.confinement import OWNER_LABEL, confinement, is_dead, owner
from overnight.tasks.evaluate.engine import (
    ENGINE_REMEDY,
    TIMEOUT_S,
    Container,
    connect,
    find_image,
    pull,
    remove,
    run_python,
    start_attached,
    translated_errors,
)
from overnight.tasks.evaluate.sandbox import RunnerConfig

if TYPE_CHECKING:
    from overnight.tasks.evaluate.engine import DockerClient

RUN_LABEL = "overnight.run"
STARTER_LABEL = "overnight.starter"

EXAMINATION = "examination"
"""In place of the run's id, for containers that examine an image."""

_MIN_CONNECTIONS = 10
"""Minimum number of open connections to the engine."""

_PIECE = 4 * 2**20
"""Length of a piece of an image, bytes."""

_IMAGE_REMEDY = (
    "A night pulls no images: get your own image with `docker pull` or `docker build`, and overnight-sandbox with "
    "`overnight doctor --fix`; `docker images` lists the local images."
)


class DockerBackend:
    """A `SandboxBackend`: containers of the first engine that answers, within `timeout_s` seconds each time.

    Its methods raise `SandboxUnavailable` if the engine does not.
    """

    own_users = True

    def __init__(self, *, runners: int, timeout_s: int = TIMEOUT_S) -> None:
        self._connections = max(_MIN_CONNECTIONS, 2 * runners)
        self._timeout_s = timeout_s
        self._connected: DockerClient | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._name = uuid.uuid4().hex
        self._has_started = False

    @property
    def _client(self) -> DockerClient:
        """The client, which connects at its first use."""
        with self._lock:
            if self._is_closed:
                raise SandboxUnavailable("the sandbox was closed", remedy="`overnight resume` goes on.")
            if self._connected is None:
                self._connected = connect(self._connections, self._timeout_s)
            return self._connected

    def describe(self) -> str:
        with translated_errors():
            info, version = self._client.info(), self._client.version()
        name = (version.get("Platform") or {}).get("Name") or "Docker"
        memory_gib = info.get("MemTotal", 0) / 1024**3
        return f"{name} {version.get('Version', '?')}, {info.get('NCPU', '?')} cores, {memory_gib:.0f} GiB"

    def image_id(self, image: str) -> str:
        """Return the id of an image; none is ever pulled."""
        if (found := find_image(self._client, image)) is None:
            raise SandboxUnavailable(f"the engine has no image {image!r}", remedy=_IMAGE_REMEDY)
        return str(found.id)

    def require(self, image: str, runtime: str | None) -> None:
        self.image_id(image)
        if runtime is None:
            return
        with translated_errors():
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

    def prepare(
        self, image: str, dependencies: Dependencies, files: Sequence[File], note: Callable[[str], None]
    ) -> str:
        # Set-up has checked its own image.
        needs_no_check = image == Sandbox().image and not dependencies.packages and not dependencies.python
        if not needs_no_check:
            image = images.with_packages(self, image, dependencies, note)
        if dependencies.npm:
            image = images.with_npm(self, image, dependencies.npm, note)
        return images.with_files(self, image, files) if files else image

    def save_image(self, image: str) -> Iterator[bytes]:
        with translated_errors():
            yield from self._client.images.get(image).save(chunk_size=_PIECE)

    def load_image(self, archive: IO[bytes]) -> None:
        with translated_errors():
            self._client.images.load(archive)

    def has_image(self, image: str) -> bool:
        return find_image(self._client, image) is not None

    def tag(self, image: str, name: str) -> None:
        repository, _, tag = name.rpartition(":")
        with translated_errors():
            self._client.images.get(image).tag(repository, tag)

    def build(self, context: IO[bytes], name: str, labels: dict[str, str]) -> None:
        """Build an image; commands of the build have no network."""
        with translated_errors():
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
                        f"the engine could not build the image {name}: {line['error']}", remedy=ENGINE_REMEDY
                    )

    def pull(self, image: str) -> str:
        """Pull an image from its registry; return why that failed, or an empty text."""
        return pull(self._client, image)

    def import_files(self, archive: Path, name: str, changes: Sequence[str]) -> None:
        """Make an image of one archive of files, which lines of a Dockerfile complete."""
        repository, _, tag = name.rpartition(":")
        with translated_errors():
            self._client.api.import_image(src=str(archive), repository=repository, tag=tag, changes=list(changes))
        self.image_id(name)  # the engine reports a failure in its output only

    def remove_image(self, image: str) -> None:
        with translated_errors():
            self._client.images.remove(image, force=True)

    def run_python(self, image: str, code: str) -> tuple[str, str]:
        """Run Python code in an image, without network; return its standard output and standard error.

        If the image has no Python, standard error tells.
        """
        return run_python(self._client, image, code, {RUN_LABEL: EXAMINATION, OWNER_LABEL: owner()})

    def remove_leftovers(self) -> int:
        return _remove_matching(self._client, RUN_LABEL, lambda labels: is_dead(labels.get(OWNER_LABEL, "")))

    def start(self, config: RunnerConfig) -> Container:
        self._has_started = True
        config = replace(config, labels={**config.labels, STARTER_LABEL: self._name})
        with translated_errors():
            confined = confinement(config, limits_cpu=self._limits_cpu, is_podman=self._is_podman)
            return start_attached(self._client, config.image, list(delivery.arguments()), confined)

    def close(self) -> None:
        """Close the backend; leftovers are removed, too, as when the engine died and came back."""
        with self._lock:
            self._is_closed = True
            connected, self._connected = self._connected, None
        if connected is None:
            return
        if self._has_started:
            with suppress(SandboxUnavailable):
                _remove_matching(connected, f"{STARTER_LABEL}={self._name}", lambda _: True)
        connected.close()

    @cached_property
    def _limits_cpu(self) -> bool:
        """Whether the engine can limit processor time; a rootless engine may lack the right."""
        return bool(self._client.info().get("CpuCfsQuota", False))

    @cached_property
    def _is_podman(self) -> bool:
        components = self._client.version().get("Components") or ()
        return any(component["Name"].startswith("Podman") for component in components)


def _remove_matching(client: DockerClient, label: str, matches: Callable[[dict[str, str]], bool]) -> int:
    with translated_errors():
        found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        chosen = [container for container in found if matches(container.labels)]
    for container in chosen:
        remove(client, str(container.id))
    return len(chosen)


create = DockerBackend
