"""Keep a copy of a history on object storage in this machine's cache."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from overnight.schemas.errors import EnvironmentFault, UsageError
from overnight.tasks.history.file_lock import lock
from overnight.tasks.history.local_backend import MARKER, foreign_copy
from overnight.tasks.history.private_files import create_once, make_private_folder
from overnight.tasks.history.remote.object_store import ObjectStore


@dataclass(frozen=True)
class Mirror:
    """Copy of a history on object storage.

    Attributes:
        name: Random name that no other copy has.
    """

    root: Path
    url: str
    name: str

    @cached_property
    def store(self) -> ObjectStore:
        """The object storage, connected at its first use."""
        return ObjectStore(self.url)

    def key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    @contextmanager
    def exclusive_update(self) -> Iterator[None]:
        """Prevent other processes from updating this copy within the context."""
        with (self.root / MARKER).open("rb") as handle:
            lock(handle.fileno(), self.root / MARKER)
            yield


def mirror_of_url(location: str) -> Mirror:
    """Return this machine's copy of the history at a URL; create it if there is none.

    Raises:
        UsageError: If the URL is invalid.
        EnvironmentFault: If the copy cannot be written, or the package for this kind of store is missing.
    """
    scheme, _, rest = location.partition("://")
    if not rest.strip("/"):
        raise UsageError(f"{location} names no bucket", remedy="Name one like s3://bucket/prefix, or a directory.")
    url = location.rstrip("/")
    if urlsplit(url).password:
        raise UsageError(
            f"{scheme}://…: a key in a URL would be stored wherever the history is named",
            remedy="Export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile: AWS_PROFILE.",
        )
    root = _cache() / hashlib.sha256(url.encode()).hexdigest()[:16]
    if not (root / MARKER).exists():
        ObjectStore(url)  # a URL that names no store must leave no copy behind
        _write_marker(root, url)
    return _read(root)


def mirror_at(root: Path) -> Mirror:
    """Return the copy in a directory that has a marker file.

    Raises:
        UsageError: If it is outside of this machine's cache, or the marker file is damaged.
    """
    # Elsewhere, the marker may come from a stranger, and would send keys and programs to a store of their choice.
    if root.resolve().parent != _cache():
        raise foreign_copy(root)
    return _read(root)


def _read(root: Path) -> Mirror:
    try:
        marker = json.loads((root / MARKER).read_bytes())
        return Mirror(root, str(marker["url"]), str(marker["name"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise foreign_copy(root) from error


def _cache() -> Path:
    own_folder = os.environ.get("OVERNIGHT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own_folder) if own_folder else Path(base) / "overnight").expanduser().resolve()


def _write_marker(root: Path, url: str) -> None:
    try:
        make_private_folder(root)
        create_once(root / MARKER, json.dumps({"url": url, "name": secrets.token_hex(8)}).encode())
    except OSError as error:
        raise EnvironmentFault(
            f"cannot keep a copy of {url} in {root}: {error.strerror}", remedy="Name another place: OVERNIGHT_CACHE=DIR"
        ) from error
