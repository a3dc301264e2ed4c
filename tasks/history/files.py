"""Where the files of a run are, and which of them are committed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from schemas.errors import HistoryError, HistoryGone, UsageError
from schemas.ids import RUN_ID
from schemas.tables import ALL
from tasks.history.atomic_files import HIDDEN, RUNS, disk_errors, hidden_path, sync
from tasks.history.private_files import is_plain_file, open_private, require_plain_files
from tasks.history.remote.mirror import place_of

T = TypeVar("T")

_PROBE_BYTES = 1 << 20
_BLOCK = re.compile(r"(\d+)(?:-(\d+))?")

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
               origin                             where the problem lies on this machine
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

    @property
    def origin(self) -> Path:
        """The file that names where the problem lies on this machine. It is neither exported nor put on a store."""
        return self.directory / "origin"

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
            with open_private(path, "wb") as handle:
                handle.write(bytes(_PROBE_BYTES))
                sync(handle)
            path.unlink()

    def forget_half_begun(self) -> None:
        """Removes the generations of a run that has no row: a crash came between the two."""
        if not self.run.exists():
            shutil.rmtree(self.generations, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what a killed process left half-written or had no time to remove. Only who holds the lock may."""
        shutil.rmtree(self.directory / HIDDEN, ignore_errors=True)
        for generation in set(self.committed()) & set(self.paid_for()):
            self.paid(generation).unlink(missing_ok=True)


MOST_GENERATIONS = 1_000_000
"""Limit on the number of a generation: the name of a folder stands for so many."""


def blocks_named(folder: Path, names: Sequence[str]) -> list[Block]:
    """The blocks of these names, in order; what lies in another is left out, as it is while they are put together.

    So is what no run can have: a block of too high a number, or one that only partly lies in another.
    """
    found = [(name, _BLOCK.fullmatch(name)) for name in names]
    blocks = [Block(folder / name, int(match[1]), int(match[2] or match[1])) for name, match in found if match]
    kept: list[Block] = []
    for block in sorted(blocks, key=lambda one: (one.first, -one.last)):
        if block.first <= block.last <= MOST_GENERATIONS and not (kept and block.first <= kept[-1].last):
            kept.append(block)
    return kept


def runs_in(history: Path) -> list[RunFiles]:
    """All runs, oldest first."""
    folder = history / RUNS
    if not folder.is_dir():
        return []
    # A name of another kind is a pattern of many files to DuckDB.
    names = sorted(path.name for path in folder.iterdir() if RUN_ID.fullmatch(path.name))
    return [RunFiles(folder / name) for name in names if (folder / name / "run.parquet").exists()]


def files_of(history: Path, run_id: str) -> RunFiles:
    """The files of one run, whether they are there or not."""
    return RunFiles(history / RUNS / run_id)


def tables_in(history: Path) -> dict[str, tuple[str, ...]]:
    """The files of all runs that are committed at this moment, by table."""
    found: dict[str, list[str]] = {name: [] for name in (*ALL, "attempts")}
    for run in runs_in(history):
        for name, paths in run.tables().items():
            _require_plain(paths)
            found[name] += map(str, paths)
    return {name: tuple(paths) for name, paths in found.items()}


def _require_plain(paths: Sequence[Path]) -> None:
    """Check that no file is a pipe, which would be waited for, or leads out of the history.

    Raises:
        HistoryError: If one is.
    """
    for path in paths:
        if not is_plain_file(path) and os.path.lexists(path):
            raise HistoryError(f"{path} is no regular file", remedy="Look at it, and remove it.")


def find_run(history: Path, name: str) -> RunFiles:
    """A run by its id, a unique prefix of it, or `last`.

    Raises:
        UsageError: If there is none, or more than one.
        HistoryError: If something in it is no file of its own.
    """
    runs = runs_in(history)
    if not runs:
        raise UsageError(f"no run in {place_of(history)}", remedy="Start one: overnight run bin-packing-or")
    if name == "last":
        return _plain(max(runs, key=lambda run: run.run.stat().st_mtime))
    found = [run for run in runs if run.run_id == name] or [run for run in runs if run.run_id.startswith(name)]
    if len(found) == 1:
        return _plain(found[0])
    if not found:
        raise UsageError(
            f"no run {name!r} in {place_of(history)}", remedy="`overnight runs` lists them; `last` is the newest."
        )
    names = ", ".join(run.run_id for run in found[:5])
    raise UsageError(f"{name!r} fits {len(found)} runs: {names}", remedy="Give a longer prefix.")


def _plain(files: RunFiles) -> RunFiles:
    require_plain_files(files.directory)
    return files
