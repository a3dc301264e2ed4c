"""Merge the folders of many generations into one, atomically for readers."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from overnight.schemas import tables
from overnight.schemas.errors import EnvironmentFault, HistoryError
from overnight.tasks.history.atomic_files import (
    commit_lock,
    disk_errors,
    hidden_path,
    read_groups,
    sync,
    sync_directory,
)
from overnight.tasks.history.files import Block, RunFiles
from overnight.tasks.history.private_files import make_folder, open_private

MIN_DURING_NIGHT = 64
"""Minimum number of single generations that are compacted while a night is running."""

MIN_AT_END = 8
"""Minimum number of single generations that are compacted at the end of a night."""

_TABLES = {"programs": tables.PROGRAMS, "population": tables.POPULATION, "generation": tables.GENERATIONS}
"""Tables by file name. On object storage, a block is complete once the last of them is there."""

_GROUP_ROWS = 16_384
_GROUP_BYTES = 64 << 20

_BLOOM_FILTERS = {"program_id": {"ndv": _GROUP_ROWS, "fpp": 0.01}}
"""Bloom filters of the programs table: a search for one program in all runs skips most row groups unread."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def compact(files: RunFiles, min_generations: int) -> int:
    """Merge the last generations into one block; return the number of folders that were merged.

    The new block is written to a hidden folder, with hard links to the blocks that stay. Then that folder and the
    visible one are exchanged in one system call, so that a kill at any moment leaves one of the two whole.

    Args:
        files: Files of the run; the caller holds its lock.
        min_generations: Minimum number of single generations that are worth merging; 1 merges the whole run.

    Raises:
        HistoryError: If a file is damaged.
        EnvironmentFault: If the disk is full, or the file system cannot exchange folders.
    """
    merged = _blocks_to_merge(files.blocks(), min_generations, files.put_off())
    if not merged:
        return 0
    visible = files.generations
    built = hidden_path(visible)
    with disk_errors(visible):
        try:
            first, last = merged[0].first, merged[-1].last
            block = Block(built / f"{first:06d}-{last:06d}", first, last)
            _write_block(merged, block.folder)
            names = [f"{name}.parquet" for name in _TABLES]
            files.backend.put_folder(visible / block.folder.name, block.folder, names)
            with commit_lock(files.directory):
                _link((other for other in files.blocks() if not block.covers(other)), built)
                sync_directory(built)
                _exchange(built, visible)
            sync_directory(files.directory)
        finally:
            shutil.rmtree(built, ignore_errors=True)
    files.backend.remove_merged(files.directory)
    return len(merged)


def _blocks_to_merge(blocks: Sequence[Block], min_generations: int, put_off: Collection[int]) -> Sequence[Block]:
    """Return the last single generations and each block before them that is no larger than all that follows it.

    A run of n generations then has at most log2(n) blocks, and no row is rewritten more often than that. A generation
    that was put off, and is not there yet, is never between those that are returned.
    """
    ends = [place for place, (one, next_) in enumerate(pairwise(blocks), start=1) if one.last + 1 != next_.first]
    missing = {number for place in ends for number in range(blocks[place - 1].last + 1, blocks[place].first)}
    if not missing.issubset(put_off):
        return ()  # leave everything as it is for a repair
    parts = [blocks[first:end] for first, end in pairwise([0, *ends, len(blocks)])]
    return next(filter(None, (_last_of(part, min_generations) for part in parts)), ())


def _last_of(blocks: Sequence[Block], min_generations: int) -> Sequence[Block]:
    if min_generations == 1:
        return blocks if len(blocks) > 1 else ()
    start = len(blocks)
    while start and blocks[start - 1].size == 1:
        start -= 1
    merged = len(blocks) - start
    if merged < min_generations:
        return ()
    while start and blocks[start - 1].size <= merged:
        start -= 1
        merged += blocks[start].size
    return blocks[start:]


def _write_block(blocks: Sequence[Block], folder: Path) -> None:
    shutil.rmtree(folder.parent, ignore_errors=True)
    make_folder(folder)
    for name, schema in _TABLES.items():
        _merge([block.folder / f"{name}.parquet" for block in blocks], folder / f"{name}.parquet", schema)
    sync_directory(folder)


def _merge(sources: Sequence[Path], target: Path, schema: pa.Schema) -> None:
    rows = 0
    filters = _BLOOM_FILTERS if schema is tables.PROGRAMS else {}
    with open_private(target, "wb") as handle:
        with pq.ParquetWriter(
            handle, schema, compression="zstd", write_page_checksum=True, bloom_filter_options=filters
        ) as writer:
            for group in _grouped(table for source in sources for table in read_groups(source)):
                writer.write_table(group, row_group_size=group.num_rows)
                rows += group.num_rows
        sync(handle)
    written = pq.read_metadata(target).num_rows
    expected = sum(pq.read_metadata(source).num_rows for source in sources)
    if not rows == written == expected:
        raise HistoryError(
            f"{target} has {written} rows, not {expected}", remedy="Nothing was changed. Check the disk."
        )


def _grouped(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Concatenate parts to row groups that are large enough for fast reading and small enough for memory."""
    group: list[pa.Table] = []
    rows = size = 0
    for part in parts:
        group.append(part)
        rows, size = rows + part.num_rows, size + part.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.concat_tables(group)
            group, rows, size = [], 0, 0
    if group:
        yield pa.concat_tables(group)


def _link(blocks: Iterable[Block], folder: Path) -> None:
    """Hard-link the files of blocks into another folder."""
    for block in blocks:
        target = folder / block.folder.name
        make_folder(target)
        for path in block.folder.iterdir():
            os.link(path, target / path.name)
        sync_directory(target)


def _exchange(built: Path, visible: Path) -> None:
    """Exchange two folders in one system call, which Python does not offer."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise _unsupported(visible, "not on this system")
    if library.renameat2(_AT_FDCWD, os.fsencode(built), _AT_FDCWD, os.fsencode(visible), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOSYS, errno.EXDEV):
            raise _unsupported(visible, os.strerror(code))
        raise OSError(code, os.strerror(code))


def _unsupported(path: Path, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path} cannot be compacted in one step: {why}",
        remedy="Nothing was changed, and everything works without compaction. ext4, xfs, btrfs and tmpfs on Linux "
        "support it.",
    )
