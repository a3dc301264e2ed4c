"""Where the files of a run are, and how one is written so that it is there whole or not there."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DiskFault, HistoryError, HistoryGone, UsageError
from schemas.tables import ALL, SCHEMA_VERSION
from tasks.history.mirror import place_of, publish, publish_folder

T = TypeVar("T")

_RUNS = "runs"
_PROBE_BYTES = 1 << 20
_BLOCK = re.compile(r"(\d+)(?:-(\d+))?")
_HIDDEN = ".writing"
"""Everything half-written is below a folder of this name, which no reader's pattern matches."""

FILE = re.compile(
    r"run\.parquet|files\.parquet|nights/\d{1,9}\.parquet|attempts/\d{1,9}-\d{1,9}\.parquet|paid/\d{1,9}\.jsonl"
    r"|generations/\d{1,9}(-\d{1,9})?/(generation|programs|population)\.parquet",
    re.ASCII,
)
"""Every file that a run has, by its name in the run's directory; what has another name is not let in from anywhere."""


@dataclass(frozen=True)
class Block:
    """Committed generations in one folder: a single one, or those from `first` to `last`."""

    folder: Path
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def covers(self, other: Block) -> bool:
        """Whether it has all that is in another."""
        return self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class RunFiles:
    """The directory of one run.

    ```
    runs/<run>/run.parquet
               files.parquet                      the problem's own files
               nights/0001.parquet
               generations/000001/{generation,programs,population}.parquet
               generations/000002-000065/…        many generations, compacted
               attempts/000002-1.parquet          attempts that failed
               paid/000002.jsonl, ….slip          completions of the generation under way, batches at a provider
               lock
    ```
    """

    directory: Path

    @property
    def run_id(self) -> str:
        return self.directory.name

    @property
    def run(self) -> Path:
        return self.directory / "run.parquet"

    @property
    def problem_files(self) -> Path:
        return self.directory / "files.parquet"

    def night(self, number: int) -> Path:
        return self.directory / "nights" / f"{number:04d}.parquet"

    def nights(self) -> list[Path]:
        return sorted((self.directory / "nights").glob("*.parquet"))

    @property
    def generations(self) -> Path:
        return self.directory / "generations"

    def generation(self, number: int) -> Path:
        """The folder of a generation as it is committed; compacted ones lie in a block."""
        return self.generations / f"{number:06d}"

    def blocks(self) -> list[Block]:
        """What is committed at this moment, in order, each generation once."""
        return blocks_named(self.generations, self.folders())

    def folders(self) -> list[str]:
        """Names of what lies in one folder, whatever is exchanged for it while it is listed."""
        while True:
            try:
                descriptor = os.open(self.generations, os.O_RDONLY)
            except FileNotFoundError:
                return []
            try:
                names = os.listdir(descriptor)
                if os.path.samestat(os.fstat(descriptor), self.generations.stat()):
                    return names
            finally:
                os.close(descriptor)

    def steady(self, read: Callable[[list[Block]], T]) -> T:
        """What is read of the blocks, anew where a compaction took them away meanwhile.

        Raises:
            HistoryError: If a file is missing or damaged.
        """
        while True:
            blocks = self.blocks()
            try:
                return read(blocks)
            except HistoryError:
                if self.blocks() == blocks:
                    raise

    def committed(self) -> list[int]:
        """Numbers of the generations that are there, ascending."""
        return [number for block in self.blocks() for number in range(block.first, block.last + 1)]

    def tables(self) -> dict[str, list[Path]]:
        """The files that are committed at this moment, by table."""
        folders = [block.folder for block in self.blocks()]
        return {
            "runs": [self.run],
            "nights": self.nights(),
            "generations": [folder / "generation.parquet" for folder in folders],
            "attempts": sorted((self.directory / "attempts").glob("*.parquet")),
            "programs": [folder / "programs.parquet" for folder in folders],
            "population": [folder / "population.parquet" for folder in folders],
        }

    def attempt(self, generation: int, attempt: int) -> Path:
        return self.directory / "attempts" / f"{generation:06d}-{attempt}.parquet"

    def attempts(self) -> list[Path]:
        return sorted((self.directory / "attempts").glob("*.parquet"))

    def failed_attempts(self, generation: int) -> int:
        return len(list((self.directory / "attempts").glob(f"{generation:06d}-*.parquet")))

    def paid(self, generation: int) -> Path:
        return self.directory / "paid" / f"{generation:06d}.jsonl"

    def paid_for(self) -> list[int]:
        """Numbers of the generations that have completions which are not committed, ascending."""
        return sorted(int(path.stem) for path in (self.directory / "paid").glob("*.jsonl") if path.stem.isdigit())

    def probe(self) -> None:
        """Writes some bytes and removes them.

        Raises:
            HistoryGone: If there is no run any more.
            DiskFault: If the disk is full or cannot be written.
        """
        if not self.run.exists():
            raise HistoryGone(
                f"{self.run} was taken away while the run is under way",
                remedy=f"Put {self.directory} back; then `overnight resume {self.run_id}` goes on.",
            )
        path = hidden_path(self.directory / "probe")
        with disk_errors(path):
            with path.open("wb") as handle:
                handle.write(bytes(_PROBE_BYTES))
                sync(handle)
            path.unlink()

    def forget_half_begun(self) -> None:
        """Removes the generations of a run that has no row: a crash came between the two."""
        if not self.run.exists():
            shutil.rmtree(self.generations, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what a killed process left half-written or had no time to remove. Only who holds the lock may."""
        shutil.rmtree(self.directory / _HIDDEN, ignore_errors=True)
        for generation in set(self.committed()) & set(self.paid_for()):
            self.paid(generation).unlink(missing_ok=True)


def blocks_named(folder: Path, names: Sequence[str]) -> list[Block]:
    """The blocks of these names, in order; what lies in another is left out, as it is while they are put together."""
    found = [(name, _BLOCK.fullmatch(name)) for name in names]
    blocks = [Block(folder / name, int(match[1]), int(match[2] or match[1])) for name, match in found if match]
    kept: list[Block] = []
    for block in sorted(blocks, key=lambda one: (one.first, -one.last)):
        if not kept or not kept[-1].covers(block):
            kept.append(block)
    return kept


def runs_in(history: Path) -> list[RunFiles]:
    """All runs, oldest first."""
    folder = history / _RUNS
    names = sorted(path.name for path in folder.iterdir() if (path / "run.parquet").exists()) if folder.is_dir() else []
    return [RunFiles(folder / name) for name in names]


def files_of(history: Path, run_id: str) -> RunFiles:
    """The files of one run, whether they are there or not."""
    return RunFiles(history / _RUNS / run_id)


def tables_in(history: Path) -> dict[str, tuple[str, ...]]:
    """The files of all runs that are committed at this moment, by table."""
    found: dict[str, list[str]] = {name: [] for name in (*ALL, "attempts")}
    for run in runs_in(history):
        for name, paths in run.tables().items():
            found[name] += map(str, paths)
    return {name: tuple(paths) for name, paths in found.items()}


def find_run(history: Path, name: str) -> RunFiles:
    """A run by its id, a unique prefix of it, or `last`.

    Raises:
        UsageError: If there is none, or more than one.
    """
    runs = runs_in(history)
    if not runs:
        raise UsageError(f"no run in {place_of(history)}", remedy="Start one: overnight run bin-packing-or")
    if name == "last":
        return max(runs, key=lambda run: run.run.stat().st_mtime)
    found = [run for run in runs if run.run_id == name] or [run for run in runs if run.run_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no run {name!r} in {place_of(history)}", remedy="`overnight runs` lists them; `last` is the newest."
        )
    names = ", ".join(run.run_id for run in found[:5])
    raise UsageError(f"{name!r} fits {len(found)} runs: {names}", remedy="Give a longer prefix.")


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
            hidden.mkdir()
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
        HistoryError: If it is missing, damaged, or was written by a later version.
    """
    with _opened(path) as file:
        return file.read(columns=columns)


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
                yield file.read_row_group(number)


def _may_hold(file: pq.ParquetFile, group: int, generation: int) -> bool:
    column = file.schema.names.index("generation")
    statistics = file.metadata.row_group(group).column(column).statistics
    return statistics is None or not statistics.has_min_max or statistics.min <= generation <= statistics.max


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
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
        path.touch()
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
            remedy="Free some space or name another place with --history; then `overnight resume last` goes on.",
        ) from error


def hidden_path(path: Path) -> Path:
    """Where a file or folder of a run is written before it is shown."""
    run = next(parent for parent in path.parents if parent.parent.name == _RUNS)
    folder = run / _HIDDEN
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{path.name}.{os.getpid()}"


def _make_folder(folder: Path) -> None:
    """A folder with those above it; returns when the names of the new ones are on the disk."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in new:
        sync_directory(one.parent)


def _write_synced(path: Path, table: pa.Table) -> None:
    with path.open("wb") as handle:
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
