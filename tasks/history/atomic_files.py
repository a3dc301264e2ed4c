"""How a file or a folder of the history is written, so that it is there whole or not there, and how it is read."""

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
from schemas.tables import SCHEMA_VERSION
from tasks.history.bounded_tables import open_file, written_out
from tasks.history.private_files import make_folder, open_private
from tasks.history.remote.mirror import publish, publish_folder

RUNS = "runs"
"""The folder of all runs."""

HIDDEN = ".writing"
"""Everything half-written is below a folder of this name, which no reader's pattern matches."""


def write_file(path: Path, table: pa.Table) -> None:
    """One Parquet file, there whole or not there; replaces an older one.

    Raises:
        StoreUnavailable: If the history is on a store that does not answer; the file is not shown here then.
    """
    hidden = hidden_path(path)
    try:
        with disk_errors(path):
            _write_synced(hidden, table)
            publish(path, hidden)
            _make_folder(path.parent)
            os.replace(hidden, path)
            sync_directory(path.parent)
    finally:
        hidden.unlink(missing_ok=True)


def write_folder(path: Path, tables: Mapping[str, pa.Table]) -> None:
    """A folder of Parquet files, by name, that appears by one rename; on a store, when its last file is there.

    Raises:
        HistoryError: If it is there already: a generation is committed once.
        StoreUnavailable: If the history is on a store that does not answer; the folder is not shown here then.
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
            published = publish_folder(path, hidden, names)
            with no_commit(path.parent.parent):
                _make_folder(path.parent)
                if not (published and path.exists()):  # else another process has it from there already
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
def no_commit(run: Path) -> Iterator[None]:
    """Inside, no other thread or process shows a generation of a run, or puts others in their place.

    Args:
        run: Its directory.
    """
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_file(path: Path, *, columns: list[str] | None = None) -> pa.Table:
    """Reads one file of the history.

    Raises:
        HistoryError: If it is missing, damaged, too large a table, or was written by a later version.
    """
    with _opened(path) as file:
        return written_out(file.read(columns=columns), path)


def said_size(path: Path) -> tuple[int, int]:
    """Return how many rows a file says that it has, and how many bytes they take; nothing of them is read.

    Raises:
        HistoryError: If it is missing, damaged, or was written by a later version.
    """
    with _opened(path) as file:
        groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
        return file.metadata.num_rows, sum(group.total_byte_size for group in groups)


def read_groups(path: Path, generation: int | None = None) -> Iterator[pa.Table]:
    """Reads one file of the history part by part, so that it need not fit into memory.

    Args:
        path: The file.
        generation: Leaves out the parts that cannot have rows of it; by default none.

    Raises:
        HistoryError: If it is missing, damaged, or was written by a later version.
    """
    with _opened(path) as file:
        for number in range(file.num_row_groups):
            if generation is None or _may_hold(file, number, generation):
                yield written_out(file.read_row_group(number), path)


def _may_hold(file: pq.ParquetFile, group: int, generation: int) -> bool:
    column = file.schema.names.index("generation")
    statistics = file.metadata.row_group(group).column(column).statistics
    return statistics is None or not statistics.has_min_max or statistics.min <= generation <= statistics.max


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        file = open_file(path)
        version = int((file.schema_arrow.metadata or {}).get(b"overnight.schema_version", b"0"))
        if version <= SCHEMA_VERSION:
            with file:
                yield file
            return
    except FileNotFoundError as error:
        raise HistoryError(f"no file {path}", remedy="Restore it from a copy.") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HistoryError(f"{path} is damaged: {error}", remedy="Restore it from a copy, or remove it.") from error
    raise HistoryError(
        f"{path} has schema version {version}, this Overnight reads up to {SCHEMA_VERSION}",
        remedy="Use the newer Overnight that wrote it.",
    )


def append_lines(path: Path, lines: list[bytes]) -> None:
    """Appends lines and returns when they are on the disk; where that fails, none of them is there."""
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
    """The whole lines of a file; one that a crash cut short is left out."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return data.split(b"\n")[:-1]


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a full or read-only disk into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise DiskFault(
            f"cannot write {path}: {error.strerror or error}",
            remedy="Free some space or name another place with --history; then `overnight resume` goes on.",
        ) from error


def hidden_path(path: Path) -> Path:
    """Where a file or folder of a run is written before it is shown."""
    run = next(parent for parent in path.parents if parent.parent.name == RUNS)
    folder = run / HIDDEN
    with disk_errors(path):
        make_folder(folder)
    return folder / f"{path.name}.{os.getpid()}"


def _make_folder(folder: Path) -> None:
    """A folder with those above it; returns when the names of the new ones are on the disk."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    make_folder(folder)
    for one in new:
        sync_directory(one.parent)


def _write_synced(path: Path, table: pa.Table) -> None:
    with open_private(path, "wb") as handle:
        pq.write_table(table, handle, compression="zstd", write_page_checksum=True)
        sync(handle)


def sync(handle: IO[Any]) -> None:
    """Returns when what was written is on the disk."""
    handle.flush()
    os.fsync(handle.fileno())


def sync_directory(path: Path) -> None:
    """Returns when the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
