"""Read Parquet files in bounded memory: a small file may repeat one text or number a million times.

Texts are read dictionary-encoded, and decoded only if the result does not become too large.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import HistoryError

_MAX_RATIO, _BASE_BYTES = 500, 256 * 2**20
"""Limit on the memory of a file's table: this multiple of the file's size, plus these bytes."""

_NUMBER_BYTES = 8


def open_file(path: Path) -> pq.ParquetFile:
    """Open a file so that its texts are read dictionary-encoded.

    Raises:
        HistoryError: If its metadata declares too large a table.
        pyarrow.ArrowException, OSError: If it is damaged or missing.
    """
    metadata = pq.read_metadata(path)
    _require_consistent_columns(path, metadata)
    _require_size(path, _declared_bytes(metadata))
    columns = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    return pq.ParquetFile(path, metadata=metadata, page_checksum_verification=True, read_dictionary=texts)


def decode_dictionaries(table: pa.Table, path: Path) -> pa.Table:
    """Return a table with dictionary-encoded texts decoded.

    Args:
        table: The table.
        path: Its file, whose size sets the limit.

    Raises:
        HistoryError: If it becomes too large.
    """
    _require_size(path, sum(_bytes(chunk) for column in table.columns for chunk in column.chunks))
    return table.cast(pa.schema([_plain(field) for field in table.schema], metadata=table.schema.metadata))


class _UnreadableFile(io.FileIO):
    """File of which no byte can be read."""

    def read(self, _size: int | None = -1, /) -> bytes:
        raise _ReadError


class _ReadError(Exception):
    """Error of `_UnreadableFile`."""


def _require_consistent_columns(path: Path, metadata: pq.FileMetaData) -> None:
    """Check the metadata of all columns, since `RowGroupMetaData.column` aborts the process where they are damaged.

    Pre-buffering constructs the same objects, with errors that can be caught, before it reads the first byte.

    Raises:
        pyarrow.ArrowException, OSError: If they are damaged.
    """
    with _UnreadableFile(path) as unreadable, contextlib.suppress(_ReadError):
        file = pq.ParquetFile(pa.PythonFile(unreadable, "r"), metadata=metadata, pre_buffer=True)
        next(file.iter_batches(batch_size=1, use_threads=False), None)


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


def _bytes(array: Any) -> int:
    """Return the bytes of an array once its texts are decoded."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.call_function("binary_length", [array.dictionary]).cast(pa.int64()).take(array.indices)
        return (pc.call_function("sum", [lengths]).as_py() or 0) + _NUMBER_BYTES * len(array)
    if pa.types.is_map(kind):
        return _bytes(array.keys) + _bytes(array.items) + array.offsets.nbytes
    if pa.types.is_list(kind):
        return _bytes(array.values) + array.offsets.nbytes
    if pa.types.is_struct(kind):
        return sum(_bytes(array.field(number)) for number in range(kind.num_fields))
    return array.nbytes


def _plain(field: pa.Field) -> pa.Field:
    return field.with_type(_plain_type(field.type))


def _plain_type(kind: Any) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain(kind.item_field))
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_field))
    if pa.types.is_struct(kind):
        return pa.struct([_plain(cast("pa.Field", kind.field(number))) for number in range(kind.num_fields)])
    return kind
