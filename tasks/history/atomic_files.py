"""Write files and folders of the history atomically, and read them back."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DiskFault, HistoryError
from schemas.history_backend import HistoryBackend
from schemas.tables import FORMAT, FORMAT_KEY
from tasks.history.bounded_tables import decode_dictionaries, open_file
from tasks.history.conversion import FORMER_COLUMNS, current_table
from tasks.history.private_files import make_folder, open_private

RUNS = "runs"
"""Name of the folder that holds all runs."""

HIDDEN = ".writing"
"""Name of the folder for unfinished files; no reader's pattern matches it."""


def write_file(history: HistoryBackend, path: Path, table: pa.Table) -> None:
    """Write one Parquet file atomically, replacing an older one.

    Args:
        history: The history that it belongs to.
        path: The file.
        table: Its content.

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
    """Write a folder of Parquet files that becomes visible by one rename; on object storage, with its last file.

    Args:
        history: The history that it belongs to.
        path: The folder.
        tables: Its tables by file name, without the suffix.

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
        raise HistoryError(f"{path} is committed already") from error


@contextmanager
def commit_lock(run: Path) -> Iterator[None]:
    """Prevent other threads and processes from committing or exchanging generations of a run within the context.

    Args:
        run: Directory of the run.
    """
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_file(path: Path, *, columns: list[str] | None = None) -> pa.Table:
    """Read one file of the history; columns that it lacks are null.

    Raises:
        HistoryError: If it is missing, damaged, too large in memory, or was written by a later version.
    """
    with _opened(path) as file:
        stored = columns and [*columns, *FORMER_COLUMNS.values()]
        return current_table(decode_dictionaries(file.read(columns=stored), path), columns)


def format_of(path: Path) -> int:
    """Return the format number of a file.

    Raises:
        HistoryError: If it is missing, damaged, or was written by a later version.
    """
    with _opened(path) as file:
        return _format(file)


def declared_size(path: Path) -> tuple[int, int]:
    """Return the number of rows and the uncompressed bytes that a file's metadata declares, without reading the rows.

    Raises:
        HistoryError: If it is missing, damaged, or was written by a later version.
    """
    with _opened(path) as file:
        groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
        return file.metadata.num_rows, sum(group.total_byte_size for group in groups)


def read_groups(path: Path, generation: int | None = None) -> Iterator[pa.Table]:
    """Read one file of the history by row groups, so that it need not fit into memory.

    Args:
        path: The file.
        generation: Skip row groups without rows of this generation; by default, none are skipped.

    Raises:
        HistoryError: If it is missing, damaged, or was written by a later version.
    """
    with _opened(path) as file:
        for number in range(file.num_row_groups):
            if generation is None or _may_hold(file, number, generation):
                yield current_table(decode_dictionaries(file.read_row_group(number), path))


def _may_hold(file: pq.ParquetFile, group: int, generation: int) -> bool:
    column = file.schema.names.index("generation")
    statistics = file.metadata.row_group(group).column(column).statistics
    return statistics is None or not statistics.has_min_max or statistics.min <= generation <= statistics.max


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        file = open_file(path)
        found = _format(file)
        if found <= FORMAT:
            with file:
                yield file
            return
    except FileNotFoundError as error:
        raise HistoryError(f"no file {path}", remedy="Restore it from a copy.") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HistoryError(f"{path} is damaged: {error}", remedy="Restore it from a copy, or remove it.") from error
    raise later_format(path, found)


def _format(file: pq.ParquetFile) -> int:
    return int((file.schema_arrow.metadata or {}).get(FORMAT_KEY, b"1"))


def later_format(source: object, found: int, known: int = FORMAT) -> HistoryError:
    """Return the error for a file, or an archive, of a format that only later versions know."""
    return HistoryError(
        f"{source} has format {found}, and this Overnight reads formats up to {known}",
        remedy="Use the newer Overnight that wrote it.",
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
        raise DiskFault(
            f"cannot write {path}: {error.strerror or error}",
            remedy="Free some space or name another place with --history; then `overnight resume` goes on.",
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
