"""The images of a Docker engine, and the connection to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from overnight.schemas.errors import SandboxUnavailable
from overnight.tasks.evaluate.confinement import OWNER_LABEL, owner
from overnight.tasks.evaluate.engine import ENGINE_REMEDY, TIMEOUT_S, connect, translated_errors

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

RUN_LABEL = "overnight.run"

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


class EngineImages:
    """Images of the first engine that answers, within `timeout_s` seconds each time.

    Its methods raise `SandboxUnavailable` if the engine does not.
    """

    def __init__(self, *, runners: int, timeout_s: int = TIMEOUT_S) -> None:
        self._connections = max(_MIN_CONNECTIONS, 2 * runners)
        self._timeout_s = timeout_s
        self._connected: DockerClient | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    @property
    def _client(self) -> DockerClient:
        """The client, which connects at its first use."""
        with self._lock:
            if self._is_closed:
                raise SandboxUnavailable("the sandbox was closed", remedy="`overnight resume` goes on.")
            if self._connected is None:
                self._connected = connect(self._connections, self._timeout_s)
            return self._connected

    def image_id(self, image: str) -> str:
        """Return the id of an image; none is ever pulled."""
        if (found := self._found(image)) is None:
            raise SandboxUnavailable(f"the engine has no image {image!r}", remedy=_IMAGE_REMEDY)
        return str(found.id)

    def has_image(self, image: str) -> bool:
        return self._found(image) is not None

    def _found(self, image: str) -> Image | None:
        import docker.errors

        with translated_errors():
            try:
                return self._client.images.get(image)
            except docker.errors.NotFound:
                return None

    def save_image(self, image: str) -> Iterator[bytes]:
        with translated_errors():
            yield from self._client.images.get(image).save(chunk_size=_PIECE)

    def load_image(self, archive: IO[bytes]) -> None:
        with translated_errors():
            self._client.images.load(archive)

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
        import docker.errors
        from docker.utils import parse_repository_tag

        repository, tag = parse_repository_tag(image)
        client = self._client
        try:
            lines = client.api.pull(repository, tag=tag or "latest", stream=True, decode=True)
            return next((str(line["error"]) for line in lines if "error" in line), "")
        except (docker.errors.DockerException, OSError) as error:
            return str(error)

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
        import docker.errors

        with translated_errors():
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
                container.wait(timeout=TIMEOUT_S)
                return container.logs(stderr=False).decode(), container.logs(stdout=False).decode(errors="replace")
            except docker.errors.APIError as error:
                if "python3" in str(error):
                    return "", str(error.explanation)
                raise
            finally:
                container.remove(force=True)

    def close(self) -> None:
        """Close the connection; whoever still uses it gets an error."""
        if connected := self._disconnect():
            connected.close()

    def _disconnect(self) -> DockerClient | None:
        """Make no further connection; return the one that there is."""
        with self._lock:
            self._is_closed = True
            connected, self._connected = self._connected, None
        return connected
