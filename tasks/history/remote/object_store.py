"""Read and write objects by key below one URL, each atomically, with errors that tell outages from refusals."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from overnight.schemas.errors import EnvironmentFault, StoreUnavailable, UsageError
from overnight.tasks.history.private_files import open_private

if TYPE_CHECKING:
    from typing import IO

    from pyarrow import NativeFile
    from pyarrow.fs import FileSystem

T = TypeVar("T")

NATIVE = ("s3", "gs", "gcs", "abfs", "abfss")
"""Schemes that pyarrow supports itself; others need fsspec and an installed package for the scheme."""

_CHUNK = 8 << 20
_CONCURRENCY = 8
_REFUSED = re.compile(
    r"AWS Error (?:ACCESS_DENIED|INVALID_\w+|SIGNATURE_DOES_NOT_MATCH|NO_SUCH_BUCKET|UNRECOGNIZED_CLIENT"
    r"|MISSING_\w+|EXPIRED_TOKEN|REQUEST_TIME_TOO_SKEWED)|HTTP status 40[01345]|PERMISSION_DENIED|UNAUTHENTICATED"
)
"""Errors that a retry does not help against."""


@dataclass(frozen=True)
class ObjectInfo:
    """Entry of an object in a listing.

    Attributes:
        changed_at: Time of the last write by the store's own clock; `None` if the store does not report it.
    """

    size: int
    changed_at: datetime | None


class ObjectStore:
    """Objects below one URL, like `s3://bucket/prefix`. Every call returns once the store has confirmed it.

    Every method may raise, besides the errors that it lists:
        StoreUnavailable: If the store does not answer, or answers with an error that may pass.
        EnvironmentFault: If the store refuses: a wrong key, a missing bucket.

    Raises:
        UsageError: If the URL is invalid.
        EnvironmentFault: If the package for this kind of store is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._base = _connect(url)
        self._threads = ThreadPoolExecutor(_CONCURRENCY, "overnight-put")

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object, replacing an existing one atomically."""
        if isinstance(content, Path) and content.stat().st_size <= _CHUNK:
            content = content.read_bytes()
        # In a thread, which Ctrl-C does not interrupt: closing a half-written stream would publish half an object.
        self._threads.submit(self._put, key, content).result()

    def get(self, key: str) -> bytes:
        """Return an object's content.

        Raises:
            FileNotFoundError: If there is no such object.
        """
        return b"".join(self._chunks(key))

    def fetch(self, key: str, target: Path) -> None:
        """Write an object's content to a new file.

        Raises:
            FileNotFoundError: If there is no such object.
        """
        with open_private(target, "xb") as handle:
            handle.writelines(self._chunks(key))
            handle.flush()
            os.fsync(handle.fileno())

    def has(self, key: str) -> bool:
        from pyarrow.fs import FileType

        with self._errors():
            return self._files.get_file_info(self._path(key)).type is FileType.File

    def list(self, folder: str) -> dict[str, ObjectInfo]:
        """Return the objects below a folder, by key."""
        from pyarrow.fs import FileSelector, FileType

        with self._errors():
            selector = FileSelector(self._path(folder), recursive=True, allow_not_found=True)
            found = [info for info in self._files.get_file_info(selector) if info.type is FileType.File]
        start = len(self._base) + 1
        return {info.path[start:]: ObjectInfo(info.size, info.mtime) for info in found}

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; missing ones are ignored."""
        self.each(lambda key: self._remove(self._files.delete_file, key), keys)

    def delete_folders(self, folders: Iterable[str]) -> None:
        """Remove all objects below folders, with few requests per folder."""
        self.each(lambda folder: self._remove(self._files.delete_dir, folder), folders)

    def each(self, call: Callable[[T], None], items: Iterable[T]) -> None:
        """Call a function for each item, several at a time; raise the first error once all calls have ended."""
        with ThreadPoolExecutor(_CONCURRENCY, "overnight-store") as threads:
            futures = [threads.submit(call, item) for item in items]
        for future in futures:
            future.result()

    def require_bucket(self) -> None:
        """Check that the bucket exists, since listing an empty place does not show it."""
        from pyarrow.fs import FileType

        bucket = self._base.lstrip("/").split("/")[0]
        with self._errors():
            exists = self._files.get_file_info(bucket).type is not FileType.NotFound
        if urlsplit(self.url).scheme in NATIVE and not exists:
            raise EnvironmentFault(
                f"{self.url}: there is no bucket {bucket!r}, or this key has no access to it",
                remedy="Check its name, or create it with your provider's tools.",
            )

    def _put(self, key: str, content: bytes | Path) -> None:
        with self._errors(), self._files.open_output_stream(self._path(key)) as stream:
            if isinstance(content, bytes):
                stream.write(content)
                return
            with content.open("rb") as handle:
                shutil.copyfileobj(handle, cast("IO[bytes]", stream), _CHUNK)

    def _remove(self, remove: Callable[[str], None], key: str) -> None:
        with self._errors(), suppress(FileNotFoundError):
            remove(self._path(key))

    def _chunks(self, key: str) -> Iterator[bytes]:
        """Yield an object's content in large chunks, so that it takes few requests."""
        with self._errors():
            stream = self._files.open_input_stream(self._path(key))
        with stream:
            while chunk := self._read(stream):
                yield chunk

    def _read(self, stream: NativeFile) -> bytes:
        with self._errors():
            return stream.read(_CHUNK)

    def _path(self, key: str) -> str:
        return f"{self._base}/{key}".rstrip("/")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            message = f"{self.url}: {str(error).strip().rstrip(':')}"
            if isinstance(error, PermissionError) or _REFUSED.search(str(error)):
                raise EnvironmentFault(
                    f"the store refuses: {message}",
                    remedy="Check the bucket's name, and the key: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
                    "AWS_PROFILE or your provider's own.",
                ) from error
            raise StoreUnavailable(
                f"the store does not answer: {message}",
                remedy="Check the network and the endpoint; `overnight resume` then goes on.",
            ) from error


def _connect(url: str) -> tuple[FileSystem, str]:
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem

    scheme = urlsplit(url).scheme
    try:
        files, base = FileSystem.from_uri(_s3(url) if scheme == "s3" else url if scheme in NATIVE else f"fsspec+{url}")
    except ImportError as error:
        raise EnvironmentFault(
            f"{url}: the package for this kind of store is not installed: {error}",
            remedy="Install it beside Overnight: uv pip install …, or keep the history on S3 or Google Cloud Storage.",
        ) from error
    except (ArrowInvalid, ValueError) as error:
        raise UsageError(
            f"{url} names no store: {error}", remedy="Name one like s3://bucket/prefix, or a directory."
        ) from error
    except OSError as error:
        raise StoreUnavailable(f"the store does not answer: {url}: {error}", remedy="Check the network.") from error
    return files, base.rstrip("/")


def _s3(url: str) -> str:
    """Add the endpoint from the usual environment variables, and the option that writes an object in one request."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in options:
        address = urlsplit(endpoint)
        options |= {"scheme": address.scheme, "endpoint_override": address.netloc + address.path.rstrip("/")}
    options["allow_delayed_open"] = "true"
    return urlunsplit(parts._replace(query=urlencode(options)))
