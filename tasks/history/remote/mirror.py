"""A history on object storage: its copy on this machine, which all else reads, and what is written to both.

The store comes first: what this machine shows is there already. So a copy may be thrown away, and a history that
is no copy knows nothing of all this.
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

_MARK = ".remote"
_RUNS = "runs"
_ROW = "run.parquet"


class _Mark(BaseModel):
    """What a copy knows of itself."""

    model_config = ConfigDict(frozen=True)

    url: str
    name: str


@dataclass(frozen=True)
class Mirror:
    """A copy.

    Attributes:
        root: Its directory.
        url: What it is a copy of.
        name: Its own, which no other copy has.
    """

    root: Path
    url: str
    name: str

    @property
    def store(self) -> ObjectStore:
        return open_store(self.url)

    def key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Inside, no other process brings this copy up to date."""
        with (self.root / _MARK).open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


@dataclass
class Hold:
    """A run of a copy that this process holds, here and on the store.

    Attributes:
        is_unsure: Whether the store was asked for something that it may or may not have done.
        sent: Bytes of the files that grow, as far as they are on the store.
    """

    mirror: Mirror
    lease: Lease
    is_unsure: bool = False
    sent: dict[Path, int] = field(default_factory=dict)
    sending: threading.Lock = field(default_factory=threading.Lock)


_held: dict[Path, Hold] = {}

_named: set[Path] = set()
"""Copies of what this process was told to look at by its URL."""


def local_copy(place: str) -> Path:
    """The directory of a history: the place itself, or where this machine keeps its copy of what is behind a URL.

    Raises:
        UsageError: If the URL makes no sense.
        EnvironmentFault: If the copy cannot be written, or no package speaks to such a store.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return Path(place)
    if scheme == "file":
        return Path(rest)
    if not rest.strip("/"):
        raise UsageError(f"{place} names no bucket", remedy="Name one like s3://bucket/prefix, or a directory.")
    url = place.rstrip("/")
    if urlsplit(url).password:
        raise UsageError(
            f"{scheme}://…: a key in an address would be kept where the history is",
            remedy="Export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile: AWS_PROFILE.",
        )
    open_store(url)
    root = _cache() / hashlib.sha256(url.encode()).hexdigest()[:16]
    _make_mark(root, url)
    _named.add(root)
    return root


def place_of(history: Path) -> str:
    """How a user names a history."""
    mirror = mirror_of(history)
    return mirror.url if mirror else str(history)


def mirror_of(path: Path) -> Mirror | None:
    """The copy that a path is in, or is; `None` where it is in a history that is no copy."""
    run = _run_of(path)
    if run and run in _held:
        return _held[run].mirror  # whatever becomes of the copy, what is held is written to the store
    root = run.parent.parent if run else path
    if not os.path.lexists(root / _MARK):
        return None
    # Elsewhere, the mark may be a stranger's, and would have keys and programs sent to a store that nobody named.
    if root not in _named and root.resolve().parent != _cache():
        raise _not_a_copy(root)
    try:
        mark = _Mark.model_validate_json((root / _MARK).read_bytes())
    except OSError:
        return None
    except ValidationError as error:
        raise _not_a_copy(root) from error
    return Mirror(root, mark.url, mark.name)


def _not_a_copy(root: Path) -> UsageError:
    return UsageError(
        f"{root / _MARK} says that this is the copy of a history on object storage, and this machine keeps none there",
        remedy="Name the place on object storage itself, --history URL; or remove that file to use what is here.",
    )


@contextmanager
def held(mirror: Mirror, run: Path) -> Iterator[Hold]:
    """Holds a run of a copy on the store, for whoever holds it on this machine already.

    Raises:
        RunIsBusy: If another machine holds it.
        StoreUnavailable: If the store does not answer.
    """
    name = f"{mirror.name}-{slug(socket.gethostname())}"  # a cache that was taken to another machine is another's
    hold = Hold(mirror, Lease(mirror.store, f"{mirror.key(run)}/lock", name))
    hold.lease.take()
    _held[run] = hold
    try:
        yield hold
    finally:
        del _held[run]
        hold.lease.release()


def hold_of(run: Path) -> Hold | None:
    """How this process holds a run of a copy, where it does."""
    return _held.get(run)


def publish(path: Path, content: Path) -> None:
    """Puts a file on the store, where its history is a copy.

    Args:
        path: Where it will be shown.
        content: Where it is.

    Raises:
        StoreUnavailable: If it may not be there.
        RunIsBusy: If another machine has taken the run over.
    """
    if mirror := mirror_of(path):
        with _writing(path):
            mirror.store.put(mirror.key(path), content)


def publish_folder(path: Path, content: Path, names: Sequence[str]) -> bool:
    """Puts a folder on the store, where its history is a copy; it counts from the moment that its last file is there.

    Args:
        path: Where it will be shown.
        content: Where it is.
        names: Of its files.

    Returns:
        Whether it is a copy.

    Raises:
        StoreUnavailable: If it may not be there.
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
    """Puts a whole run on the store, where its history is a copy; it counts from the moment that its own row is there.

    Args:
        run: Where it will be shown.
        content: Where it is.

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
    """Puts a file that grows on the store as it is now, where its history is a copy and nobody else just did.

    Raises:
        StoreUnavailable: If it may not be there; it is on this machine's disk, and goes along with the next lines.
        RunIsBusy: If another machine has taken the run over.
    """
    run = _run_of(path)
    hold = hold_of(run) if run else None
    if hold is None:
        return
    wanted = path.stat().st_size
    with hold.sending:
        if hold.sent.get(path, 0) < wanted:
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            with _writing(path):
                hold.mirror.store.put(hold.mirror.key(path), whole)
            hold.sent[path] = len(whole)


def withdraw(path: Path) -> None:
    """Removes a file from the store, where its history is a copy."""
    if mirror := mirror_of(path):
        with _writing(path):
            mirror.store.delete([mirror.key(path)])


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Inside, a run that is held is held still; what comes of it is remembered as unsure where the store fails."""
    run = _run_of(path)
    hold = hold_of(run) if run else None
    try:
        if hold:
            hold.lease.require()
        yield
    except EnvironmentFault:
        if hold:
            hold.is_unsure = True
        raise


def _run_of(path: Path) -> Path | None:
    return next((one for one in (path, *path.parents) if one.parent.name == _RUNS), None)


def _cache() -> Path:
    named = os.environ.get("OVERNIGHT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(named) if named else Path(base) / "overnight").expanduser().resolve()


def _make_mark(root: Path, url: str) -> None:
    path = root / _MARK
    if path.exists():
        return
    try:
        make_private_folder(root)
        part = root / f"{_MARK}.{secrets.token_hex(4)}"
        with open_private(part, "xb") as handle:
            handle.write(_Mark(url=url, name=secrets.token_hex(8)).model_dump_json().encode())
        try:
            os.link(part, path)
        except FileExistsError:
            return  # another process was quicker
        finally:
            part.unlink()
    except OSError as error:
        raise EnvironmentFault(
            f"cannot keep a copy of {url} in {root}: {error.strerror}", remedy="Name another place: OVERNIGHT_CACHE=DIR"
        ) from error
