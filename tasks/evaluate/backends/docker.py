"""The backend `docker`: containers of the Docker engine, or of podman's, which has the same API."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.files import File
from overnight.schemas.settings import Sandbox
from overnight.tasks.evaluate import delivery, images
from overnight.tasks.evaluate.confinement import OWNER_LABEL, confinement, is_dead
from overnight.tasks.evaluate.engine import TIMEOUT_S, Container, remove, start_attached, translated_errors
from overnight.tasks.evaluate.engine_images import RUN_LABEL, EngineImages
from overnight.tasks.evaluate.sandbox import RunnerConfig

if TYPE_CHECKING:
    from overnight.tasks.evaluate.engine import DockerClient

STARTER_LABEL = "overnight.starter"


class DockerBackend(EngineImages):
    """A `SandboxBackend`: containers of an engine, which may also be podman's."""

    own_users = True

    def __init__(self, *, runners: int, timeout_s: int = TIMEOUT_S) -> None:
        super().__init__(runners=runners, timeout_s=timeout_s)
        self._name = uuid.uuid4().hex
        self._has_started = False

    def describe(self) -> str:
        with translated_errors():
            info, version = self._client.info(), self._client.version()
        name = (version.get("Platform") or {}).get("Name") or "Docker"
        memory_gib = info.get("MemTotal", 0) / 1024**3
        return f"{name} {version.get('Version', '?')}, {info.get('NCPU', '?')} cores, {memory_gib:.0f} GiB"

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
        connected = self._disconnect()
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
