"""Where the files of a run are, and how one is written so that it is there whole or not there."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import EnvironmentFault, HistoryError, RunIsBusy, UsageError
from schemas.tables import ALL, SCHEMA_VERSION

_RUNS = "runs"
_PROBE_BYTES = 1 << 20
_HIDDEN = ".writing"
"""Everything half-written is below a folder of this name, which no reader's pattern matches."""


@dataclass(frozen=True)
class RunFiles:
    """The directory of one run.

    ```
    runs/<run>/run.parquet
               files.parquet                      the problem's own files
               nights/0001.parquet
               generations/000001/{generation,programs,population}.parquet
               attempts/000002-1.parquet          attempts that failed
               paid/000002.jsonl                  completions of the generation under way
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

    def generation(self, number: int) -> Path:
        return self.directory / "generations" / f"{number:06d}"

    def committed(self) -> list[int]:
        """Numbers of the generations that are there, ascending."""
        folder = self.directory / "generations"
        names = os.listdir(folder) if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())

    def tables(self) -> dict[str, list[Path]]:
        """The files that are committed at this moment, by table."""
        folders = [self.generation(number) for number in self.committed()]
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
            EnvironmentFault: If the disk is full or cannot be written.
        """
        path = _hidden(self.directory / "probe")
        with disk_errors(path):
            with path.open("wb") as handle:
                handle.write(bytes(_PROBE_BYTES))
                _sync(handle)
            path.unlink()

    def forget_half_begun(self) -> None:
        """Removes the start program of a run that has no row: a crash came between the two."""
        if not self.run.exists():
            shutil.rmtree(self.generation(0), ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for one night; a crash leaves no lock behind, since the kernel drops it.

        Raises:
            RunIsBusy: If another process holds it.
        """
        with disk_errors(self.directory / "lock"):
            self.directory.mkdir(parents=True, exist_ok=True)
            handle = (self.directory / "lock").open("a")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunIsBusy(
                    f"run {self.run_id} is under way in another process",
                    remedy="Wait for it, or stop it there with Ctrl-C.",
                ) from error
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Removes what a killed process left half-written. Only the holder of the lock may."""
        shutil.rmtree(self.directory / _HIDDEN, ignore_errors=True)


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
        raise UsageError(f"no run in {history}", remedy="Start one: overnight run bin-packing-or")
    if name == "last":
        return max(runs, key=lambda run: run.run.stat().st_mtime)
    found = [run for run in runs if run.run_id == name] or [run for run in runs if run.run_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no run {name!r} in {history}", remedy="`overnight runs` lists them; `last` is the newest.")
    names = ", ".join(run.run_id for run in found[:5])
    raise UsageError(f"{name!r} fits {len(found)} runs: {names}", remedy="Give a longer prefix.")


def write_file(path: Path, table: pa.Table) -> None:
    """One Parquet file, there whole or not there; replaces an older one."""
    with disk_errors(path):
        hidden = _hidden(path)
        try:
            _write_synced(hidden, table)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(hidden, path)
        except OSError:
            hidden.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def write_folder(path: Path, tables: Mapping[str, pa.Table]) -> None:
    """A folder of Parquet files, by name, that appears by one rename.

    Raises:
        HistoryError: If it is there already: a generation is committed once.
    """
    with disk_errors(path):
        hidden = _hidden(path)
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        try:
            for name, table in tables.items():
                _write_synced(hidden / f"{name}.parquet", table)
            _sync_directory(hidden)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.rename(hidden, path)
        except OSError as error:
            shutil.rmtree(hidden, ignore_errors=True)
            if not path.exists():
                raise
            raise HistoryError(f"{path} is committed already") from error
        _sync_directory(path.parent)


def read_file(path: Path, *, columns: list[str] | None = None) -> pa.Table:
    """Reads one file of the history.

    Raises:
        HistoryError: If it is missing, damaged, or was written by a later version.
    """
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read(columns=columns)
        version = int((table.schema.metadata or {}).get(b"overnight.schema_version", b"0"))
    except FileNotFoundError as error:
        raise HistoryError(f"no file {path}", remedy="Restore it from a copy.") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HistoryError(f"{path} is damaged: {error}", remedy="Restore it from a copy, or remove it.") from error
    if version > SCHEMA_VERSION:
        raise HistoryError(
            f"{path} has schema version {version}, this Overnight reads up to {SCHEMA_VERSION}",
            remedy="Use the newer Overnight that wrote it.",
        )
    return table


def append_lines(path: Path, lines: list[bytes]) -> None:
    """Appends lines and returns when they are on the disk; where that fails, none of them is there."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        size = path.stat().st_size
        try:
            with path.open("ab") as handle:
                handle.write(b"".join(line + b"\n" for line in lines))
                _sync(handle)
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
        raise EnvironmentFault(
            f"cannot write {path}: {error.strerror or error}",
            remedy="Free some space or name another place with --history; then `overnight resume last` goes on.",
        ) from error


def _hidden(path: Path) -> Path:
    run = next(parent for parent in path.parents if parent.parent.name == _RUNS)
    folder = run / _HIDDEN
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{path.name}.{os.getpid()}"


def _write_synced(path: Path, table: pa.Table) -> None:
    with path.open("wb") as handle:
        pq.write_table(table, handle, compression="zstd", write_page_checksum=True)
        _sync(handle)


def _sync(handle: IO[Any]) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
