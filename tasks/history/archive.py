"""A run as one file that another machine takes in: a tar, compressed with zstd, that names the hash of all it holds."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Self, cast

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import EnvironmentFault, HistoryError, OvernightError, UsageError
from schemas.ids import RUN_ID
from schemas.tables import SCHEMA_VERSION
from tasks.history import record
from tasks.history.atomic_files import disk_errors, read_groups, said_size, sync, sync_directory
from tasks.history.files import FILE, RunFiles, files_of
from tasks.history.private_files import make_folder, make_folder_like, make_private_folder, open_private
from tasks.history.remote.mirror import publish_run

_FORMAT = 1
_MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 32 << 20
_CHUNK = 1 << 20
_IMPORTING = ".importing"

_MOST_TIMES, _ALWAYS_BYTES = 200, 64 << 20
"""An archive, and each file in it, may grow so many times as it is decompressed, and to so many bytes in any case."""

_LARGEST_HEADER = 64 << 10
"""Of what stands before a file in a tar and says more of it, such as a long name."""


class Entry(BaseModel):
    """One file of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """What is in an archive; its first file.

    Attributes:
        format: Of the archive.
        schema_version: Of the tables, the highest.
        files: By path in the run's directory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    schema_version: int
    run_id: str
    files: dict[str, Entry]

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.files.values())


def pack(files: RunFiles, target: Path) -> Manifest:
    """Writes the archive of a run, with all its nights and what is paid for; it is there whole or not there.

    Args:
        files: Of the run; its lock is held.
        target: Replaced if it is there.

    Raises:
        EnvironmentFault: If it cannot be written.
    """
    manifest = describe(files)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        open_private(part, "wb").close()
        with pa.output_stream(str(part), compression="zstd") as packed:
            _write(manifest, files, cast("IO[bytes]", packed))
        with part.open("rb") as handle:
            sync(handle)
        os.replace(part, target)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write {target}: {error.strerror or error}", remedy="Name another place with --write FILE."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return manifest


def describe(files: RunFiles) -> Manifest:
    """What an archive of this run holds."""
    found = sorted(path for path in files.directory.rglob("*") if FILE.fullmatch(_name(files, path)))
    entries = {_name(files, path): _entry(path) for path in found}
    return Manifest(format=_FORMAT, schema_version=SCHEMA_VERSION, run_id=files.run_id, files=entries)


def _name(files: RunFiles, path: Path) -> str:
    return path.relative_to(files.directory).as_posix()


def _entry(path: Path) -> Entry:
    with path.open("rb") as handle:
        return Entry(sha256=hashlib.file_digest(handle, "sha256").hexdigest(), bytes=path.stat().st_size)


def _write(manifest: Manifest, files: RunFiles, packed: IO[bytes]) -> None:
    text = manifest.model_dump_json(indent=1).encode()
    with tarfile.open(fileobj=packed, mode="w|") as archive:
        about = tarfile.TarInfo(f"{files.run_id}/{_MANIFEST}")
        about.size, about.mtime = len(text), int(files.run.stat().st_mtime)
        archive.addfile(about, BytesIO(text))
        for name in manifest.files:
            path = files.directory / name
            about = tarfile.TarInfo(f"{files.run_id}/{name}")
            about.size, about.mtime = path.stat().st_size, int(path.stat().st_mtime)
            with path.open("rb") as handle:
                archive.addfile(about, handle)


def unpack(source: Path, history: Path) -> tuple[RunFiles, bool]:
    """Takes the run of an archive into a history; it is there whole or not there.

    It is written where no reader looks, every file is held against its hash, the run is read, and then it is shown by
    one rename.

    Args:
        source: The archive.
        history: It need not exist yet.

    Returns:
        The run's files, and whether they are new: an archive may be taken in again.

    Raises:
        HistoryError: If the archive is damaged, or from a later version.
        UsageError: If it is no archive of a run, or the history has the run with other content.
        EnvironmentFault: If there is no room.
    """
    with _opened(source) as archive, _staging(history) as staging:
        members = _members(archive, source)
        manifest = _manifest(members, source)
        files = files_of(history, manifest.run_id)
        if files.run.exists():
            _require_the_same(manifest, files)
            return files, False
        _require_room(manifest, history)
        staged = files_of(staging, manifest.run_id)
        _extract(members, manifest, staged, source)
        _look_through(staged, source)
        publish_run(files.directory, staged.directory)
        with disk_errors(files.directory):
            _show(staged, files)
    return files, True


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        handle = source.open("rb")
    except OSError as error:
        raise UsageError(
            f"cannot read {source}: {error.strerror}", remedy="Name a file that `overnight export` wrote."
        ) from error
    with handle, _reading(source):
        stream = pa.CompressedInputStream(pa.PythonFile(handle, "r"), "zstd")
        limited = _Limited(cast("IO[bytes]", stream), _most_bytes(source))
        with stream, tarfile.open(fileobj=cast("IO[bytes]", limited), mode="r|", tarinfo=_Header) as archive:
            yield archive


def _most_bytes(packed: Path) -> int:
    """Return how large what is packed in a file may be."""
    return packed.stat().st_size * _MOST_TIMES + _ALWAYS_BYTES


class _Limited:
    """A stream that ends in an error where a small archive becomes a large one."""

    def __init__(self, stream: IO[bytes], most_bytes: int) -> None:
        self._stream, self._left = stream, most_bytes

    def read(self, size: int) -> bytes:
        """Read some bytes.

        Raises:
            ReadError: If there are more than the archive may hold.
        """
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError(f"it grows to more than {_MOST_TIMES} times its size")
        return data


class _Header(tarfile.TarInfo):
    """The header of one file; `tarfile` reads what says more of a file whole into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header.

        Raises:
            ReadError: If it is a large one.
        """
        header = super().frombuf(buf, encoding, errors)
        if (not header.isreg() and header.size > _LARGEST_HEADER) or header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{header.name!r} is no plain file")
        return header


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Turns what is wrong with an archive into an error that says so."""
    try:
        yield
    except (tarfile.TarError, pa.ArrowException, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _damaged(source, str(error)) from error


def _damaged(source: Path, why: str) -> HistoryError:
    return HistoryError(
        f"{source} is no whole archive of a run: {why}", remedy="Copy it again, or write it again: overnight export RUN"
    )


@contextmanager
def _staging(history: Path) -> Iterator[Path]:
    """A folder of the history that no reader looks into; one import at a time, and a killed one's is removed."""
    folder = history / _IMPORTING
    with disk_errors(history):
        make_private_folder(history)
        descriptor = os.open(history, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        shutil.rmtree(folder, ignore_errors=True)
        with disk_errors(history):
            make_folder_like(folder, history)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


Member = tuple[str, str, int, float, IO[bytes]]
"""Run, path in its directory, bytes, time of the last change, content."""


def _members(archive: tarfile.TarFile, source: Path) -> Iterator[Member]:
    """What is in it, one after the other; each is read before the next is asked for."""
    for member in archive:
        run_id, _, name = member.name.partition("/")
        content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
        is_known = RUN_ID.fullmatch(run_id) and (name == _MANIFEST or FILE.fullmatch(name))
        if content is None or not is_known:
            raise _damaged(source, f"{member.name!r} is no file of a run")
        yield run_id, name, member.size, member.mtime, content


def _manifest(members: Iterator[Member], source: Path) -> Manifest:
    run_id, name, size, _, content = next(members, ("", "", 0, 0.0, BytesIO()))
    if name != _MANIFEST or size > _LARGEST_MANIFEST:
        raise _damaged(source, f"expected {_MANIFEST} first, got {name or 'nothing'}")
    try:
        manifest = Manifest.model_validate_json(content.read())
    except ValidationError as error:
        raise _damaged(source, f"{_MANIFEST}: {error.errors()[0]['msg']}") from error
    for what, version, known in (
        ("format", manifest.format, _FORMAT),
        ("schema version", manifest.schema_version, SCHEMA_VERSION),
    ):
        if version > known:
            raise HistoryError(
                f"{source} has {what} {version}, this Overnight reads up to {known}",
                remedy="Use the newer Overnight that wrote it.",
            )
    if manifest.run_id != run_id or not all(map(FILE.fullmatch, manifest.files)):
        raise _damaged(source, f"{_MANIFEST} is of another run")
    return manifest


def _require_the_same(manifest: Manifest, files: RunFiles) -> None:
    if describe(files).files != manifest.files:
        raise UsageError(
            f"run {files.run_id} is in the history already, with other content: {files.directory}",
            remedy="Take it into another history: --history DIR",
        )


def _require_room(manifest: Manifest, history: Path) -> None:
    free = shutil.disk_usage(history).free
    if manifest.bytes > free:
        raise EnvironmentFault(
            f"the run takes {manifest.bytes >> 20} MiB, and {history} has {free >> 20} MiB free",
            remedy="Free some space, or name another place with --history DIR.",
        )


def _extract(members: Iterator[Member], manifest: Manifest, staged: RunFiles, source: Path) -> None:
    """Writes every file and holds it against its hash."""
    left = dict(manifest.files)
    for run_id, name, size, changed_at, content in members:
        entry = left.pop(name, None)
        if entry is None or run_id != manifest.run_id or size != entry.bytes:
            raise _damaged(source, f"{name} is not what {_MANIFEST} says")
        target = staged.directory / name
        with disk_errors(target):
            make_folder(target.parent)
        if _copy(content, target) != entry.sha256:
            raise _damaged(source, f"{name} has another hash than {_MANIFEST} says")
        os.utime(target, (changed_at, changed_at))
    if left:
        raise _damaged(source, f"it ends before {next(iter(left))}")


def _copy(content: IO[bytes], target: Path) -> str:
    """Copies, and gives the hash of what was copied."""
    digest = hashlib.sha256()
    with open_private(target, "xb") as handle:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            with disk_errors(target):
                handle.write(chunk)
        with disk_errors(target):
            sync(handle)
    return digest.hexdigest()


def _look_through(staged: RunFiles, source: Path) -> None:
    """Looks that what came is a run that can be read and gone on with."""
    try:
        _refuse_bomb(staged.run)
        _refuse_bomb(staged.problem_files)
        is_its_own = record.read_run(staged).run_id == staged.run_id
        record.read_run_history(staged)
        for paths in staged.tables().values():
            for path in paths:
                _refuse_bomb(path)
                for _ in read_groups(path):
                    pass  # it is read at all, and takes no more memory than it may
    except OvernightError as error:
        raise HistoryError(f"{source}: {error.message}", remedy=error.remedy) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(source, f"what is in it is no run: {type(error).__name__}: {error}") from error
    if not is_its_own:
        raise _damaged(source, "run.parquet is of another run")


def _refuse_bomb(path: Path) -> None:
    """Check what a Parquet file says of its size.

    Raises:
        HistoryError: If it is a small file that becomes a large table.
    """
    if not path.exists():
        return
    rows, size = said_size(path)
    if rows > path.stat().st_size or size > _most_bytes(path):
        raise HistoryError(
            f"{path.name} has {path.stat().st_size} bytes and says that it holds {rows} rows of {size} bytes",
            remedy="Ask for another archive.",
        )


def _show(staged: RunFiles, files: RunFiles) -> None:
    for folder in sorted({path.parent for path in staged.directory.rglob("*")}):
        sync_directory(folder)
    make_folder(files.directory.parent)
    try:
        os.rename(staged.directory, files.directory)
    except OSError as error:
        raise UsageError(
            f"{files.directory} is there already and holds no run", remedy="Look what it is, and remove it."
        ) from error
    sync_directory(files.directory.parent)
