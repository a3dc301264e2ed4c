"""Write files and folders of the history atomically, and read them back in bounded memory.

A small Parquet file may repeat one text or number a million times. So texts are read dictionary-encoded, and decoded
only if the result does not become too large. Readers raise `HistoryError` if a file is missing or damaged, or it has
a format that this version does not read.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from overnight.schemas import tables
from overnight.schemas.errors import DiskFault, HistoryError
from overnight.schemas.history_backend import HistoryBackend
from overnight.tasks.history.file_lock import lock
from overnight.tasks.history.private_files import make_folder, open_private

RUNS = "runs"
"""Name of the folder that holds all runs."""

HIDDEN = ".writing"
"""Name of the folder for unfinished files; no reader's pattern matches it."""

_MAX_RATIO, _BASE_BYTES = 500, 256 * 2**20
"""Limit on the memory of a file's table: this multiple of the file's size, plus these bytes."""

_NUMBER_BYTES = 8

FREE_SPACE = "Free some space or name another place with --history; then `overnight resume` goes on."
"""Remedy for a full disk."""

READ_ONLY = "Make the history writable for you, or name a copy that is with --history; then `overnight resume` goes on."
"""Remedy for a file system that is mounted for reading alone, or a folder without the right to write."""

_TABLES = {**tables.ALL, "files": tables.FILES}


def write_file(history: HistoryBackend, path: Path, table: pa.Table) -> None:
    """Write one Parquet file atomically, replacing an older one.

    Raises:
        StoreUnavailable: If the history's place does not answer; the file is then not visible on this machine either.
    """
    hidden = hidden_path(path)
    try:
        with disk_errors(path):
            _write_synced(hidden, table)
            history.put_file(path, hidden)
            _make_folder(path.parent)
            os.replace(hidden, path)
            sync_directory(path.parent)
    finally:
        hidden.unlink(missing_ok=True)


def write_folder(history: HistoryBackend, path: Path, tables: Mapping[str, pa.Table]) -> None:
    """Write a folder of tables that becomes visible by one rename; on object storage, with its last file.

    The names of the tables are those of the files, without the suffix.

    Raises:
        HistoryError: If the folder exists: a generation is committed once.
        StoreUnavailable: If the history's place does not answer; the folder is then not visible on this machine
            either.
    """
    hidden = hidden_path(path)
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        with disk_errors(path):
            make_folder(hidden)
            names = [f"{name}.parquet" for name in tables]
            for name, table in zip(names, tables.values(), strict=True):
                _write_synced(hidden / name, table)
            sync_directory(hidden)
            is_public = history.put_folder(path, hidden, names)
            with commit_lock(path.parent.parent):
                _make_folder(path.parent)
                if not (is_public and path.exists()):  # another process may have fetched it already
                    _show(hidden, path)
            sync_directory(path.parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _show(hidden: Path, path: Path) -> None:
    try:
        os.rename(hidden, path)
    except OSError as error:
        if not path.exists():
            raise
        raise HistoryError(f"{path} is committed already", remedy="`overnight resume` goes on after it.") from error


@contextmanager
def commit_lock(run: Path) -> Iterator[None]:
    """Prevent other threads and processes from committing or exchanging generations of a run within the context."""
    descriptor = os.open(run, os.O_RDONLY)
    try:
        lock(descriptor, run)
        yield
    finally:
        os.close(descriptor)


def read_file(path: Path, *, columns: list[str] | None = None) -> pa.Table:
    """Read one file of the history; columns that it lacks are null."""
    with _opened(path) as file:
        return _decoded(file.read(columns=columns), path, columns)


def declared_rows(path: Path) -> int:
    """Return the number of rows that a file's metadata declares, without reading them."""
    with _opened(path) as file:
        return file.metadata.num_rows


def read_groups(path: Path, generation: int | None = None) -> Iterator[pa.Table]:
    """Read one file by row groups, so that it need not fit into memory; skip those without rows of the generation."""
    with _opened(path) as file:
        for number in range(file.num_row_groups):
            if generation is None or _may_hold(file, number, generation):
                yield _decoded(file.read_row_group(number), path)


def _may_hold(file: pq.ParquetFile, group: int, generation: int) -> bool:
    column = file.schema.names.index("generation")
    statistics = file.metadata.row_group(group).column(column).statistics
    return statistics is None or not statistics.has_min_max or statistics.min <= generation <= statistics.max


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file once, so that its metadata and its pages belong together if another one replaces it meanwhile."""
    try:
        with pa.OSFile(str(path), "rb") as source:
            file = _parquet_file(path, source)
            found = _format(file)
            if tables.OLDEST_FORMAT <= found <= tables.FORMAT:
                yield file
                return
    except FileNotFoundError as error:
        raise HistoryError(f"no file {path}", remedy="Restore it from a copy.") from error
    except PermissionError as error:
        raise HistoryError(
            f"cannot read {path}: permission denied", remedy="Make it readable for you, or name a copy with --history."
        ) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HistoryError(f"{path} is damaged: {error}", remedy="Restore it from a copy.") from error
    raise unread_format(path, found)


def _parquet_file(path: Path, source: pa.NativeFile) -> pq.ParquetFile:
    """Return the reader of an open file; texts are read dictionary-encoded."""
    metadata = pq.read_metadata(source)
    _require_consistent_columns(source, metadata)
    _require_size(path, _declared_bytes(metadata))
    columns = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    return pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True, read_dictionary=texts)


def _decoded(table: pa.Table, path: Path, columns: list[str] | None = None) -> pa.Table:
    """Return a table with its texts decoded and the present columns."""
    chunks = [chunk for column in table.columns for chunk in column.chunks]
    if sum(_bytes(chunk, _most_text_bytes) for chunk in chunks) > _BASE_BYTES:  # which is quick, and seldom so much
        _require_size(path, sum(_bytes(chunk, _text_bytes) for chunk in chunks))
    return _with_all_columns(table, columns)


def _with_all_columns(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    """Return these columns, by default all of its kind of table; those that the file lacks are null."""
    name = (table.schema.metadata or {}).get(b"overnight.table", b"").decode()
    schema = _TABLES.get(name)
    if schema is None:
        return table
    wanted = [field for field in schema if columns is None or field.name in columns]
    found = set(table.column_names)
    there = [
        _of_type(table[field.name], field.type) if field.name in found else pa.nulls(table.num_rows, field.type)
        for field in wanted
    ]
    return pa.table(there, schema=pa.schema(wanted, metadata=schema.metadata))


def _of_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type == kind else column.cast(kind)


class _UnreadableFile(io.FileIO):
    """File of which no byte can be read."""

    def read(self, _size: int | None = -1, /) -> bytes:
        raise _ReadError


class _ReadError(Exception):
    """Error of `_UnreadableFile`."""


def _require_consistent_columns(source: pa.NativeFile, metadata: pq.FileMetaData) -> None:
    """Check the metadata of all columns, since `RowGroupMetaData.column` aborts the process where they are damaged.

    Pre-buffering constructs the same objects, with errors that can be caught, before it reads the first byte.
    """
    with _UnreadableFile(source.fileno(), closefd=False) as unreadable:
        file = pq.ParquetFile(pa.PythonFile(unreadable, "r"), metadata=metadata, pre_buffer=True)
        try:
            next(file.iter_batches(batch_size=1, use_threads=False), None)
        except _ReadError as error:
            error.__traceback__ = None  # Arrow keeps the error with the file, which its frames refer to


def _declared_bytes(metadata: pq.FileMetaData) -> int:
    """Return the size that a file's metadata declares, with repeated texts counted once."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    return sum(max(column.total_uncompressed_size, column.num_values * _NUMBER_BYTES) for column in columns)


def _require_size(path: Path, size: int) -> None:
    file_bytes = path.stat().st_size
    if size > file_bytes * _MAX_RATIO + _BASE_BYTES:
        raise HistoryError(
            f"{path} has {file_bytes} bytes and would take {size / 2**20:.0f} MiB of memory",
            remedy="No file that Overnight writes grows so much: get the run from another source.",
        )


def _bytes(array: Any, text_bytes: Callable[[Any], int]) -> int:
    """Return the bytes of an array once its texts are decoded, of which a function tells the bytes."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return text_bytes(array) + _NUMBER_BYTES * len(array)
    if pa.types.is_map(kind):
        return _bytes(array.keys, text_bytes) + _bytes(array.items, text_bytes) + array.offsets.nbytes
    if pa.types.is_list(kind):
        return _bytes(array.values, text_bytes) + array.offsets.nbytes
    if pa.types.is_struct(kind):
        return sum(_bytes(array.field(number), text_bytes) for number in range(kind.num_fields))
    return array.nbytes


def _text_bytes(texts: Any) -> int:
    lengths = pc.call_function("binary_length", [texts.dictionary]).cast(pa.int64()).take(texts.indices)
    return pc.call_function("sum", [lengths]).as_py() or 0


def _most_text_bytes(texts: Any) -> int:
    """Return what `_text_bytes` is at most: all texts in each row."""
    return texts.dictionary.nbytes * len(texts)


def _format(file: pq.ParquetFile) -> int:
    number = (file.schema_arrow.metadata or {}).get(tables.FORMAT_KEY)
    if number is None:
        raise ValueError("it has no format number")
    return int(number)


def unread_format(source: object, found: int, known: int = tables.FORMAT) -> HistoryError:
    """Return the error for a file, or an archive, of a format that only earlier or only later versions know."""
    if found > known:
        return HistoryError(
            f"{source} has format {found}, and this Overnight reads formats up to {known}",
            remedy="Use the newer Overnight that wrote it.",
        )
    return HistoryError(
        f"{source} has format {found}, and this Overnight reads formats from {tables.OLDEST_FORMAT} on",
        remedy="Use the Overnight before 0.3.0 that wrote it. If it is in a history, move its run's folder out of "
        "`runs` there, and the other runs are read.",
    )


def append_lines(path: Path, lines: list[bytes]) -> None:
    """Append lines and sync them to disk; on an error, the file keeps its old length."""
    with disk_errors(path):
        _make_folder(path.parent)
        is_new = not path.exists()
        open_private(path, "ab").close()
        size = path.stat().st_size
        try:
            with path.open("ab") as handle:
                handle.write(b"".join(line + b"\n" for line in lines))
                sync(handle)
            if is_new:
                sync_directory(path.parent)
        except OSError:
            os.truncate(path, size)
            raise


def read_lines(path: Path) -> list[bytes]:
    """Return the complete lines of a file, without a last line that a crash cut short."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return data.split(b"\n")[:-1]


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise `DiskFault` with a remedy where the disk is full or read-only."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DiskFault(
            f"cannot write {path}: {reason}",
            remedy=READ_ONLY if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) else FREE_SPACE,
            reason=reason,
        ) from error


def hidden_path(path: Path) -> Path:
    """Return the path at which a file or folder of a run is written before it becomes visible."""
    run = next(parent for parent in path.parents if parent.parent.name == RUNS)
    folder = run / HIDDEN
    with disk_errors(path):
        make_folder(folder)
    return folder / f"{path.name}.{os.getpid()}"


def _make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, and sync their names to disk."""
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    for path in created:
        sync_directory(path.parent)


def _write_synced(path: Path, table: pa.Table) -> None:
    with open_private(path, "wb") as handle:
        pq.write_table(table, handle, compression="zstd", write_page_checksum=True)
        sync(handle)


def sync(handle: IO[Any]) -> None:
    """Flush an open file to disk."""
    handle.flush()
    os.fsync(handle.fileno())


def sync_directory(path: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
