"""Export a run to one file and import it elsewhere: a zstd-compressed tar that starts with the hashes of its files."""

from __future__ import annotations

import hashlib
import itertools
import os
import shlex
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Self, cast

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from overnight.schemas.errors import EnvironmentFault, HistoryError, OvernightError, UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.ids import RUN_ID
from overnight.schemas.tables import FORMAT, OLDEST_FORMAT
from overnight.tasks.history import stored_run
from overnight.tasks.history.atomic_files import (
    declared_rows,
    disk_errors,
    read_groups,
    sync,
    sync_directory,
    unread_format,
)
from overnight.tasks.history.file_lock import lock
from overnight.tasks.history.files import FILE, RunFiles, files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.private_files import make_folder, make_folder_like, make_private_folder, open_private

_FORMAT = 1
_MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 32 << 20
_CHUNK = 1 << 20
_IMPORTING = ".importing"

_MAX_RATIO, _BASE_BYTES = 200, 64 << 20
"""Limit on decompression, for the archive and for each file in it: this multiple of its size, plus these bytes."""

_MAX_HEADER_BYTES = 64 << 10
"""Limit on an extended tar header, such as one with a long name."""


class Entry(BaseModel):
    """Hash and size of one file of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """Table of contents of an archive; its first file.

    Attributes:
        schema_version: Highest format number of its files.
        files: Hash and size by path in the run's directory.
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
    """Write the archive of a run, whose lock the caller holds, with all its nights and uncommitted completions.

    Raises:
        UsageError: If the target is a folder.
        HistoryError: If a file of the run is missing or damaged, so that nobody could import the archive.
        EnvironmentFault: If it cannot be written.
    """
    for path in itertools.chain(*files.tables().values()):
        declared_rows(path)
    stored_run.require_no_gap(files, stored_run.read_run_history(files))
    manifest = describe(files)
    with replacing(target) as part, pa.output_stream(str(part), compression="zstd") as packed:
        _write(manifest, files, cast("IO[bytes]", packed))
    return manifest


def require_no_folder(target: Path, name: str) -> None:
    """Require that a file can be at a path; `name` is that of a file, for the remedy."""
    if target.is_dir():
        raise UsageError(
            f"--write: expected a file, got the folder {target}",
            remedy=f"For example: --write {shlex.quote(str(target / name))}",
        )


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a new file for its owner only, which replaces the target in one step once it is written.

    Raises:
        EnvironmentFault: If it cannot be written.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        open_private(part, "wb").close()
        yield part
        with part.open("rb") as handle:
            sync(handle)
        os.replace(part, target)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write {target}: {error.strerror or error}", remedy="Name another place with --write FILE."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def describe(files: RunFiles) -> Manifest:
    """Return the manifest of a run."""
    found = sorted(path for path in files.directory.rglob("*") if FILE.fullmatch(_name(files, path)))
    entries = {}
    for path in found:
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        entries[_name(files, path)] = Entry(sha256=digest, bytes=path.stat().st_size)
    return Manifest(format=_FORMAT, schema_version=FORMAT, run_id=files.run_id, files=entries)


def _name(files: RunFiles, path: Path) -> str:
    return path.relative_to(files.directory).as_posix()


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


def unpack(source: Path, history: HistoryBackend) -> tuple[RunFiles, bool]:
    """Import the run of an archive into a history; return its files, and whether it is new to the history.

    The files are written to a hidden folder, each is checked against its hash, and the run is read once. Then it
    becomes visible by one rename. Importing an archive again changes nothing.

    Raises:
        HistoryError: If the archive is damaged, or of a format that this version does not read.
        UsageError: If the file cannot be read, or the history has the run with other content.
        EnvironmentFault: If the disk has too little space.
    """
    with _opened(source) as archive, _staging(history.root) as staging:
        members = _members(archive, source)
        manifest = _manifest(members, source)
        files = files_of(history, manifest.run_id)
        if files.run.exists():
            if describe(files).files != manifest.files:
                raise UsageError(
                    f"run {files.run_id} is in the history already, with other content: {files.directory}",
                    remedy="Import it into another history: --history DIR",
                )
            return files, False
        _require_room(manifest, history.root)
        staged = files_of(LocalBackend(staging), manifest.run_id)
        _extract(members, manifest, staged, source)
        _check_run(staged, source)
        history.put_run(files.directory, staged.directory)
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
        max_bytes = source.stat().st_size * _MAX_RATIO + _BASE_BYTES
        limited = _LimitedStream(cast("IO[bytes]", stream), max_bytes)
        with stream, tarfile.open(fileobj=cast("IO[bytes]", limited), mode="r|", tarinfo=_LimitedHeader) as archive:
            yield archive


class _LimitedStream:
    """Stream of bytes that raises an error beyond a number of bytes: the guard against decompression bombs."""

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        self._stream, self._left = stream, max_bytes

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError(f"it grows to more than {_MAX_RATIO} times its size")
        return data


class _LimitedHeader(tarfile.TarInfo):
    """Tar header of limited size, since `tarfile` reads extended headers into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if (not header.isreg() and header.size > _MAX_HEADER_BYTES) or header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{header.name!r} is no plain file")
        return header


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Raise errors of a damaged archive as `HistoryError`."""
    try:
        yield
    except (tarfile.TarError, pa.ArrowException, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _damaged(source, str(error)) from error


def _damaged(source: Path, why: str) -> HistoryError:
    return HistoryError(
        f"{source} is not a complete archive of a run: {why}",
        remedy="Copy it again, or write it again: overnight export RUN",
    )


@contextmanager
def _staging(history: Path) -> Iterator[Path]:
    """Provide a hidden folder for an import; one import runs at a time, and leftovers of a killed one are removed."""
    folder = history / _IMPORTING
    with disk_errors(history):
        make_private_folder(history)
        descriptor = os.open(history, os.O_RDONLY)
    try:
        lock(descriptor, history)
        shutil.rmtree(folder, ignore_errors=True)
        with disk_errors(history):
            make_folder_like(folder, history)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


Member = tuple[str, str, int, float, IO[bytes]]
"""Run id, path in the run's directory, size in bytes, modification time, and content of one file of an archive."""


def _members(archive: tarfile.TarFile, source: Path) -> Iterator[Member]:
    """Yield the files of an archive; the content of each must be read before the next one is requested."""
    for member in archive:
        run_id, _, name = member.name.partition("/")
        content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
        is_known = RUN_ID.fullmatch(run_id) and (name == _MANIFEST or FILE.fullmatch(name))
        if content is None or not is_known:
            raise _damaged(source, f"{member.name!r} is not a file of a run")
        yield run_id, name, member.size, member.mtime, content


def _manifest(members: Iterator[Member], source: Path) -> Manifest:
    run_id, name, size, _, content = next(members, ("", "", 0, 0.0, BytesIO()))
    if name != _MANIFEST or size > _LARGEST_MANIFEST:
        raise _damaged(source, f"expected {_MANIFEST} first, got {name or 'nothing'}")
    try:
        manifest = Manifest.model_validate_json(content.read())
    except ValidationError as error:
        raise _damaged(source, f"{_MANIFEST}: {error.errors()[0]['msg']}") from error
    if manifest.format > _FORMAT:
        raise unread_format(source, manifest.format, _FORMAT)
    if not OLDEST_FORMAT <= manifest.schema_version <= FORMAT:
        raise unread_format(source, manifest.schema_version)
    if manifest.run_id != run_id or not all(map(FILE.fullmatch, manifest.files)):
        raise _damaged(source, f"{_MANIFEST} describes another run")
    return manifest


def _require_room(manifest: Manifest, history: Path) -> None:
    free = shutil.disk_usage(history).free
    if manifest.bytes > free:
        raise EnvironmentFault(
            f"the run takes {manifest.bytes >> 20} MiB, and {history} has {free >> 20} MiB free",
            remedy="Free some space, or name another place with --history DIR.",
        )


def _extract(members: Iterator[Member], manifest: Manifest, staged: RunFiles, source: Path) -> None:
    """Write every file and check it against its hash."""
    left = dict(manifest.files)
    for run_id, name, size, changed_at, content in members:
        entry = left.pop(name, None)
        if entry is None or run_id != manifest.run_id or size != entry.bytes:
            raise _damaged(source, f"{name} does not match {_MANIFEST}")
        target = staged.directory / name
        with disk_errors(target):
            make_folder(target.parent)
        if _copy(content, target) != entry.sha256:
            raise _damaged(source, f"the hash of {name} does not match {_MANIFEST}")
        os.utime(target, (changed_at, changed_at))
    if left:
        raise _damaged(source, f"{next(iter(left))} is missing")


def _copy(content: IO[bytes], target: Path) -> str:
    """Copy content to a file and return its SHA-256."""
    digest = hashlib.sha256()
    with open_private(target, "xb") as handle:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            with disk_errors(target):
                handle.write(chunk)
        with disk_errors(target):
            sync(handle)
    return digest.hexdigest()


def _check_run(staged: RunFiles, source: Path) -> None:
    """Check that an imported run can be read and resumed."""
    try:
        has_own_id = stored_run.read_run(staged).run_id == staged.run_id
        stored_run.read_run_history(staged)
        for path in itertools.chain(*staged.tables().values()):
            for _ in read_groups(path):
                pass  # reading checks the file and its size in memory
    except OvernightError as error:
        raise HistoryError(f"{source}: {error.message}", remedy=error.remedy) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(source, f"its files cannot be read as a run: {type(error).__name__}: {error}") from error
    if not has_own_id:
        raise _damaged(source, "run.parquet belongs to another run")


def _show(staged: RunFiles, files: RunFiles) -> None:
    for folder in sorted({path.parent for path in staged.directory.rglob("*")}):
        sync_directory(folder)
    make_folder(files.directory.parent)
    try:
        os.rename(staged.directory, files.directory)
    except OSError as error:
        raise UsageError(
            f"{files.directory} exists already and holds no run", remedy="Inspect it, and remove it."
        ) from error
    sync_directory(files.directory.parent)
