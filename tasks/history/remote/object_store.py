"""Object storage: objects by key below one URL, each there whole or not there, and errors that say of which kind."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from schemas.errors import EnvironmentFault, StoreUnavailable, UsageError
from tasks.history.private_files import open_private

if TYPE_CHECKING:
    from typing import IO

    from pyarrow import NativeFile
    from pyarrow.fs import FileSystem

T = TypeVar("T")

_NATIVE = ("s3", "gs", "gcs", "abfs", "abfss")
"""What pyarrow speaks by itself; other schemes are fsspec's, where the package that speaks them is installed."""

_CHUNK = 8 << 20
_AT_ONCE = 8
_REFUSED = re.compile(
    r"AWS Error (?:ACCESS_DENIED|INVALID_\w+|SIGNATURE_DOES_NOT_MATCH|NO_SUCH_BUCKET|UNRECOGNIZED_CLIENT"
    r"|MISSING_\w+|EXPIRED_TOKEN|REQUEST_TIME_TOO_SKEWED)|HTTP status 40[01345]|PERMISSION_DENIED|UNAUTHENTICATED"
)
"""What asking again does not help against."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing says of an object.

    Attributes:
        size: Bytes.
        changed_at: By the store's own clock; `None` where it does not say.
    """

    size: int
    changed_at: datetime | None


class ObjectStore:
    """Objects below one URL. Every call returns when the store has said that it is done.

    What each raises, beside what it says:
        StoreUnavailable: If the store does not answer, or not as it should; it may again.
        EnvironmentFault: If it refuses: the key, the bucket.

    Args:
        url: Where they are, like `s3://bucket/prefix`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._base = _connect(url)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "overnight-put")

    def put(self, key: str, content: bytes | Path) -> None:
        """Makes an object; the one that was there is replaced in one step."""
        if isinstance(content, Path) and content.stat().st_size <= _CHUNK:
            content = content.read_bytes()
        # In a thread, where nothing interrupts: a stream that is left half-way would be closed, and shown as it is.
        self._threads.submit(self._put, key, content).result()

    def get(self, key: str) -> bytes:
        """An object's content.

        Raises:
            FileNotFoundError: If there is none.
        """
        return b"".join(self._chunks(key))

    def fetch(self, key: str, target: Path) -> None:
        """Writes an object's content to a file.

        Raises:
            FileNotFoundError: If there is none.
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
        """The objects below a folder, by key."""
        from pyarrow.fs import FileSelector, FileType

        with self._errors():
            selector = FileSelector(self._path(folder), recursive=True, allow_not_found=True)
            found = [info for info in self._files.get_file_info(selector) if info.type is FileType.File]
        start = len(self._base) + 1
        return {info.path[start:]: ObjectInfo(info.size, info.mtime) for info in found}

    def delete(self, keys: Iterable[str]) -> None:
        """Removes objects, of which some may be gone already."""
        self.each(self._delete, keys)

    def delete_folders(self, folders: Iterable[str]) -> None:
        """Removes all objects below folders, each in few requests."""
        self.each(self._delete_folder, folders)

    def each(self, do: Callable[[T], None], things: Iterable[T]) -> None:
        """Does something for each, several at a time; the first error is raised when all have ended."""
        with ThreadPoolExecutor(_AT_ONCE, "overnight-store") as threads:
            futures = [threads.submit(do, thing) for thing in things]
        for future in futures:
            future.result()

    def require_bucket(self) -> None:
        """Looks that there is a place to keep objects in, which nothing else shows before the first is written.

        Raises:
            EnvironmentFault: If there is none.
        """
        from pyarrow.fs import FileType

        bucket = self._base.lstrip("/").split("/")[0]
        with self._errors():
            is_there = self._files.get_file_info(bucket).type is not FileType.NotFound
        if urlsplit(self.url).scheme in _NATIVE and not is_there:
            raise EnvironmentFault(
                f"{self.url}: there is no bucket {bucket!r}, or this key may not see it",
                remedy="Look at its name, or create it with your provider's tools.",
            )

    def _put(self, key: str, content: bytes | Path) -> None:
        with self._errors(), self._files.open_output_stream(self._path(key)) as stream:
            if isinstance(content, bytes):
                stream.write(content)
                return
            with content.open("rb") as handle:
                shutil.copyfileobj(handle, cast("IO[bytes]", stream), _CHUNK)

    def _delete(self, key: str) -> None:
        with self._errors(), suppress(FileNotFoundError):
            self._files.delete_file(self._path(key))

    def _delete_folder(self, folder: str) -> None:
        with self._errors(), suppress(FileNotFoundError):
            self._files.delete_dir(self._path(folder))

    def _chunks(self, key: str) -> Iterator[bytes]:
        """An object's content, in few requests."""
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
            said = f"{self.url}: {str(error).strip().rstrip(':')}"
            if isinstance(error, PermissionError) or _REFUSED.search(str(error)):
                raise EnvironmentFault(
                    f"the store refuses: {said}",
                    remedy="Look at the bucket's name, and at the key: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
                    "AWS_PROFILE or your provider's own.",
                ) from error
            raise StoreUnavailable(
                f"the store does not answer: {said}",
                remedy="Look at the network and the endpoint; `overnight resume` then goes on.",
            ) from error


@cache
def open_store(url: str) -> ObjectStore:
    """The store behind a URL; one in a process.

    Raises:
        UsageError: If the URL makes no sense.
        EnvironmentFault: If the package that speaks to such a store is missing.
    """
    return ObjectStore(url)


def _connect(url: str) -> tuple[FileSystem, str]:
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem

    scheme = urlsplit(url).scheme
    try:
        files, base = FileSystem.from_uri(_s3(url) if scheme == "s3" else url if scheme in _NATIVE else f"fsspec+{url}")
    except ImportError as error:
        raise EnvironmentFault(
            f"{url}: no package is installed that speaks to such a store: {error}",
            remedy="Install it beside Overnight: uv pip install …, or keep the history on S3 or Google Cloud Storage.",
        ) from error
    except (ArrowInvalid, ValueError) as error:
        raise UsageError(
            f"{url} names no store: {error}", remedy="Name one like s3://bucket/prefix, or a directory."
        ) from error
    except OSError as error:
        raise StoreUnavailable(f"the store does not answer: {url}: {error}", remedy="Look at the network.") from error
    return files, base.rstrip("/")


def _s3(url: str) -> str:
    """The URL with the endpoint of the usual variables, and an object in one request in place of three."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in options:
        where = urlsplit(endpoint)
        options |= {"scheme": where.scheme, "endpoint_override": where.netloc + where.path.rstrip("/")}
    options["allow_delayed_open"] = "true"
    return urlunsplit(parts._replace(query=urlencode(options)))
