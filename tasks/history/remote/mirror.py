"""Keep a copy of a history on object storage, which everything else reads, and write to both.

Everything is written to the store first, so a copy may be deleted at any time. For a history that is an ordinary
directory, the functions of this module do nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import EnvironmentFault, UsageError
from schemas.ids import slug
from tasks.history.private_files import make_private_folder, open_private
from tasks.history.remote.lease import Lease
from tasks.history.remote.object_store import ObjectStore, open_store

_MARKER = ".remote"
_RUNS = "runs"
_ROW = "run.parquet"


class _Marker(BaseModel):
    """Content of the file that marks a directory as a copy."""

    model_config = ConfigDict(frozen=True)

    url: str
    name: str


@dataclass(frozen=True)
class Mirror:
    """Copy of a history on object storage.

    Attributes:
        root: Directory of the copy.
        url: URL of the history.
        name: Random name that no other copy has.
    """

    root: Path
    url: str
    name: str

    @property
    def store(self) -> ObjectStore:
        return open_store(self.url)

    def key(self, path: Path) -> str:
        """Return the key of a file's object."""
        return path.relative_to(self.root).as_posix()

    @contextmanager
    def exclusive_update(self) -> Iterator[None]:
        """Prevent other processes from updating this copy within the context."""
        with (self.root / _MARKER).open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


@dataclass
class Hold:
    """Lock of this process on a run of a copy, on this machine and on the store.

    Attributes:
        mirror: The copy.
        lease: Lease on the run.
        is_unsure: Whether a request to the store failed, and may or may not have had its effect.
        sent: Bytes of each growing file that are on the store.
        sending: Lock for sending growing files.
    """

    mirror: Mirror
    lease: Lease
    is_unsure: bool = False
    sent: dict[Path, int] = field(default_factory=dict)
    sending: threading.Lock = field(default_factory=threading.Lock)


_holds: dict[Path, Hold] = {}
"""Runs that this process holds, by directory."""

_named_by_url: set[Path] = set()
"""Copies of histories that the user of this process named by their URLs."""


def local_copy(location: str) -> Path:
    """Return the directory of a history: the location itself, or for a URL this machine's copy.

    Raises:
        UsageError: If the URL is invalid.
        EnvironmentFault: If the copy cannot be written, or the package for this kind of store is missing.
    """
    scheme, separator, rest = location.partition("://")
    if not separator:
        return Path(location)
    if scheme == "file":
        return Path(rest)
    if not rest.strip("/"):
        raise UsageError(f"{location} names no bucket", remedy="Name one like s3://bucket/prefix, or a directory.")
    url = location.rstrip("/")
    if urlsplit(url).password:
        raise UsageError(
            f"{scheme}://…: a key in a URL would be stored wherever the history is named",
            remedy="Export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile: AWS_PROFILE.",
        )
    open_store(url)
    root = _cache() / hashlib.sha256(url.encode()).hexdigest()[:16]
    _write_marker(root, url)
    _named_by_url.add(root)
    return root


def place_of(history: Path) -> str:
    """Return the URL or path by which the user names a history."""
    mirror = mirror_of(history)
    return mirror.url if mirror else str(history)


def mirror_of(path: Path) -> Mirror | None:
    """Return the copy that contains a path or is at it; `None` if the history is an ordinary directory.

    Raises:
        UsageError: If there is a marker file outside this machine's cache, or a damaged one.
    """
    run = _run_directory(path)
    if run and run in _holds:
        return _holds[run].mirror  # even if the copy is deleted, writes to a held run must reach the store
    root = run.parent.parent if run else path
    if not os.path.lexists(root / _MARKER):
        return None
    # Elsewhere, the marker may come from a stranger, and would send keys and programs to a store of their choice.
    if root not in _named_by_url and root.resolve().parent != _cache():
        raise _not_a_copy(root)
    try:
        marker = _Marker.model_validate_json((root / _MARKER).read_bytes())
    except OSError:
        return None
    except ValidationError as error:
        raise _not_a_copy(root) from error
    return Mirror(root, marker.url, marker.name)


def _not_a_copy(root: Path) -> UsageError:
    return UsageError(
        f"{root / _MARKER} marks this as the copy of a history on object storage, but this machine keeps no copy there",
        remedy="Name the history by its URL, --history URL; or remove that file to use this directory by itself.",
    )


@contextmanager
def hold_on_store(mirror: Mirror, run: Path) -> Iterator[Hold]:
    """Hold a run on the store within the context; the caller holds its lock on this machine.

    Args:
        mirror: The copy.
        run: Directory of the run.

    Raises:
        RunIsBusy: If another machine holds it.
        StoreUnavailable: If the store does not answer.
    """
    name = f"{mirror.name}-{slug(socket.gethostname())}"  # differs for a cache that was copied to another machine
    hold = Hold(mirror, Lease(mirror.store, f"{mirror.key(run)}/lock", name))
    hold.lease.take()
    _holds[run] = hold
    try:
        yield hold
    finally:
        del _holds[run]
        hold.lease.release()


def current_hold(run: Path) -> Hold | None:
    """Return this process's hold on a run of a copy, if it has one."""
    return _holds.get(run)


def publish(path: Path, content: Path) -> None:
    """Write a file to the store, if its history is a copy.

    Args:
        path: Path at which it will become visible.
        content: Path at which it is now.

    Raises:
        StoreUnavailable: If it may not be on the store.
        RunIsBusy: If another machine has taken the run over.
    """
    if mirror := mirror_of(path):
        with _writing(path):
            mirror.store.put(mirror.key(path), content)


def publish_folder(path: Path, content: Path, names: Sequence[str]) -> bool:
    """Write a folder to the store, if its history is a copy; it counts as complete once its last file is there.

    Args:
        path: Path at which it will become visible.
        content: Path at which it is now.
        names: Names of its files, in order.

    Returns:
        Whether the history is a copy.

    Raises:
        StoreUnavailable: If it may not be on the store.
        RunIsBusy: If another machine has taken the run over.
    """
    mirror = mirror_of(path)
    if mirror is None:
        return False
    store, key, (*first, last) = mirror.store, mirror.key(path), names
    with _writing(path):
        store.each(lambda name: store.put(f"{key}/{name}", content / name), first)
    with _writing(path):
        store.put(f"{key}/{last}", content / last)
    return True


def publish_run(run: Path, content: Path) -> None:
    """Write a whole run to the store, if its history is a copy; it counts as complete once its own row is there.

    Args:
        run: Path at which it will become visible.
        content: Path at which it is now.

    Raises:
        StoreUnavailable: If the store does not answer.
    """
    if mirror := mirror_of(run):
        names = [path.relative_to(content).as_posix() for path in content.rglob("*") if path.is_file()]
        names.remove(_ROW)
        store, key = mirror.store, mirror.key(run)
        store.each(lambda name: store.put(f"{key}/{name}", content / name), names)
        store.put(f"{key}/{_ROW}", content / _ROW)


def publish_lines(path: Path) -> None:
    """Write the current lines of a growing file to the store, if its history is a copy.

    If another thread has written them meanwhile, nothing is sent.

    Raises:
        StoreUnavailable: If they may not be on the store; they are on disk, and are sent again with the next lines.
        RunIsBusy: If another machine has taken the run over.
    """
    run = _run_directory(path)
    hold = current_hold(run) if run else None
    if hold is None:
        return
    size = path.stat().st_size
    with hold.sending:
        if hold.sent.get(path, 0) < size:
            content = path.read_bytes()
            lines = content[: content.rfind(b"\n") + 1]
            with _writing(path):
                hold.mirror.store.put(hold.mirror.key(path), lines)
            hold.sent[path] = len(lines)


def withdraw(path: Path) -> None:
    """Remove a file from the store, if its history is a copy."""
    if mirror := mirror_of(path):
        with _writing(path):
            mirror.store.delete([mirror.key(path)])


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Require the lease on a held run before a write, and mark the run as unsure if the write fails."""
    run = _run_directory(path)
    hold = current_hold(run) if run else None
    try:
        if hold:
            hold.lease.require()
        yield
    except EnvironmentFault:
        if hold:
            hold.is_unsure = True
        raise


def _run_directory(path: Path) -> Path | None:
    return next((folder for folder in (path, *path.parents) if folder.parent.name == _RUNS), None)


def _cache() -> Path:
    own_folder = os.environ.get("OVERNIGHT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own_folder) if own_folder else Path(base) / "overnight").expanduser().resolve()


def _write_marker(root: Path, url: str) -> None:
    path = root / _MARKER
    if path.exists():
        return
    try:
        make_private_folder(root)
        part = root / f"{_MARKER}.{secrets.token_hex(4)}"
        with open_private(part, "xb") as handle:
            handle.write(_Marker(url=url, name=secrets.token_hex(8)).model_dump_json().encode())
        try:
            os.link(part, path)
        except FileExistsError:
            return  # another process created it meanwhile
        finally:
            part.unlink()
    except OSError as error:
        raise EnvironmentFault(
            f"cannot keep a copy of {url} in {root}: {error.strerror}", remedy="Name another place: OVERNIGHT_CACHE=DIR"
        ) from error
