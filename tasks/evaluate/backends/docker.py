"""The backend `docker`: containers of the Docker engine, or of podman's, which has the same API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from schemas.dependencies import Dependencies
from schemas.errors import SandboxUnavailable
from schemas.files import File
from schemas.settings import Sandbox
from tasks.evaluate import engine, images
from tasks.evaluate.sandbox import Channel, RunnerConfig

_MIN_CONNECTIONS = 10
"""Minimum number of open connections to the engine."""


class DockerBackend:
    """Containers of the first engine that answers.

    Args:
        runners: Number of runners at the same time.
    """

    own_users = True

    def __init__(self, *, runners: int) -> None:
        self._connections = max(_MIN_CONNECTIONS, 2 * runners)
        self._connected: engine.Engine | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def describe(self) -> str:
        """See `SandboxBackend.describe`."""
        return self._engine().describe()

    def image_id(self, image: str) -> str:
        """See `SandboxBackend.image_id`."""
        return self._engine().require_image(image)

    def require(self, image: str, runtime: str | None) -> None:
        """See `SandboxBackend.require`."""
        docker = self._engine()
        docker.require_image(image)
        if runtime is not None:
            docker.require_runtime(runtime)

    def prepare(
        self, image: str, dependencies: Dependencies, files: Sequence[File], note: Callable[[str], None]
    ) -> str:
        """See `SandboxBackend.prepare`."""
        # Set-up has checked its own image.
        needs_no_check = image == Sandbox().image and not dependencies.packages and not dependencies.python
        if not needs_no_check:
            image = images.with_packages(self._engine(), image, dependencies, note)
        if files:
            image = images.with_files(self._engine(), image, files)
        return image

    def save_image(self, image: str) -> Iterator[bytes]:
        """See `ImageStore.save_image`."""
        return self._engine().save(image)

    def load_image(self, archive: IO[bytes]) -> None:
        """See `ImageStore.load_image`."""
        self._engine().load(archive)

    def remove_leftovers(self) -> int:
        """See `SandboxBackend.remove_leftovers`."""
        return self._engine().sweep()

    def start(self, config: RunnerConfig) -> Channel:
        """See `SandboxBackend.start`."""
        return self._engine().start(config)

    def close(self) -> None:
        """See `SandboxBackend.close`."""
        with self._lock:
            self._is_closed = True
            connected, self._connected = self._connected, None
        if connected is not None:
            connected.close()

    def _engine(self) -> engine.Engine:
        """Return the engine; connect to it at the first call.

        Raises:
            SandboxUnavailable: If no engine answers, or this backend is closed.
        """
        with self._lock:
            if self._is_closed:
                raise SandboxUnavailable("the sandbox was closed")
            if self._connected is None:
                self._connected = engine.connect(connections=self._connections)
            return self._connected


create = DockerBackend
