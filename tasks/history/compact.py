"""Compaction: the folders of many generations become one, and a reader sees either all of the old or the new."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import tables
from schemas.errors import EnvironmentFault, HistoryError
from tasks.history.atomic_files import disk_errors, hidden_path, no_commit, read_groups, sync, sync_directory
from tasks.history.files import Block, RunFiles
from tasks.history.private_files import make_folder, open_private
from tasks.history.remote.mirror import publish_folder
from tasks.history.remote.sync import tidy

FULL = 64
"""Generations as they were committed that are worth a compaction while a night goes on."""

LEFT = 8
"""Those that are worth one at a night's end."""

_TABLES = {"programs": tables.PROGRAMS, "population": tables.POPULATION, "generation": tables.GENERATIONS}
"""On a store the last is what makes the others count."""

_GROUP_ROWS = 16_384
_GROUP_BYTES = 64 << 20

_SOUGHT = {"program_id": {"ndv": _GROUP_ROWS, "fpp": 0.01}}
"""By what one program is looked for in all runs: a filter tells of most groups that it is not there, unread."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def compact(files: RunFiles, least: int) -> int:
    """Makes one block of the last generations; of the whole run where `least` is 1. Only the lock's holder may.

    The new block is written where no reader looks, beside links to all that stays. Then the folder with all of it
    changes places with the one that readers see, in one step: whoever is killed has done it or not done it.

    Args:
        files: Of the run.
        least: How many generations must lie by themselves for it to be worth it.

    Returns:
        How many folders became one.

    Raises:
        HistoryError: If a file is damaged.
        EnvironmentFault: If the disk is full, or the file system cannot do it.
    """
    merged = _worth_it(files.blocks(), least)
    if not merged:
        return 0
    shown = files.generations
    built = hidden_path(shown)
    with disk_errors(shown):
        try:
            block = Block(built / _name(merged), merged[0].first, merged[-1].last)
            _write_block(merged, block.folder)
            publish_folder(shown / block.folder.name, block.folder, [f"{name}.parquet" for name in _TABLES])
            with no_commit(files.directory):
                _link((other for other in files.blocks() if not block.covers(other)), built)
                sync_directory(built)
                _exchange(built, shown)
            sync_directory(files.directory)
        finally:
            shutil.rmtree(built, ignore_errors=True)
    tidy(files)
    return len(merged)


def _worth_it(blocks: Sequence[Block], least: int) -> Sequence[Block]:
    """The last generations with every block before them that is no larger than what comes after it.

    So a run of n generations has at most log2(n) blocks, and no row is written more often than that.
    """
    if any(one.last + 1 != other.first for one, other in pairwise(blocks)):
        return ()  # a generation is missing: nothing is touched that somebody may want to mend
    if least == 1:
        return blocks if len(blocks) > 1 else ()
    place = len(blocks)
    while place and blocks[place - 1].size == 1:
        place -= 1
    merged = len(blocks) - place
    if merged < least:
        return ()
    while place and blocks[place - 1].size <= merged:
        place -= 1
        merged += blocks[place].size
    return blocks[place:]


def _name(blocks: Sequence[Block]) -> str:
    return f"{blocks[0].first:06d}-{blocks[-1].last:06d}"


def _write_block(blocks: Sequence[Block], folder: Path) -> None:
    shutil.rmtree(folder.parent, ignore_errors=True)
    make_folder(folder)
    for name, schema in _TABLES.items():
        _merge([block.folder / f"{name}.parquet" for block in blocks], folder / f"{name}.parquet", schema)
    sync_directory(folder)


def _merge(sources: Sequence[Path], target: Path, schema: pa.Schema) -> None:
    rows = 0
    filters = _SOUGHT if schema is tables.PROGRAMS else {}
    with open_private(target, "wb") as handle:
        with pq.ParquetWriter(
            handle, schema, compression="zstd", write_page_checksum=True, bloom_filter_options=filters
        ) as writer:
            for group in _grouped(_conforming(table, schema) for source in sources for table in read_groups(source)):
                writer.write_table(group, row_group_size=group.num_rows)
                rows += group.num_rows
        sync(handle)
    written = pq.read_metadata(target).num_rows
    expected = sum(pq.read_metadata(source).num_rows for source in sources)
    if not rows == written == expected:
        raise HistoryError(
            f"{target} has {written} rows, not {expected}", remedy="Nothing was changed. Look at the disk."
        )


def _grouped(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The parts put together to groups large enough to be read fast and small enough to be held in memory."""
    held: list[pa.Table] = []
    rows = size = 0
    for part in parts:
        held.append(part)
        rows, size = rows + part.num_rows, size + part.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)


def _conforming(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows in the present version of their table: null where an older one lacks a column."""
    names = set(table.column_names)
    columns = [
        table[field.name].cast(field.type) if field.name in names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _link(blocks: Iterable[Block], folder: Path) -> None:
    """What stays as it is, once more: the same files in another folder."""
    for block in blocks:
        place = folder / block.folder.name
        make_folder(place)
        for path in block.folder.iterdir():
            os.link(path, place / path.name)
        sync_directory(place)


def _exchange(one: Path, other: Path) -> None:
    """Two names change places in one step, which Linux can do and Python cannot say."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise _cannot(other, "not on this system")
    if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOSYS, errno.EXDEV):
            raise _cannot(other, os.strerror(code))
        raise OSError(code, os.strerror(code))


def _cannot(path: Path, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path} cannot be compacted in one step: {why}",
        remedy="Nothing was changed, and all works as it is. ext4, xfs, btrfs and tmpfs on Linux can do it.",
    )
