"""Locate the files of runs, and list the committed generations."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from overnight.schemas.errors import DiskFault, HistoryError, HistoryGone
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.ids import RUN_ID
from overnight.schemas.tables import ALL
from overnight.tasks.history.atomic_files import FREE_SPACE, HIDDEN, RUNS, disk_errors, hidden_path, read_file, sync
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.private_files import is_plain_file, open_private

T = TypeVar("T")

_PROBE_BYTES = 1 << 20
"""Free bytes without which nothing is asked for: room for a commit."""

_ANSWER_BYTES = 64 << 10
"""Free bytes for each answer that is asked for; few are as long."""

_BLOCK = re.compile(r"(\d+)(?:-(\d+))?")

FILE = re.compile(
    r"run\.parquet|files\.parquet|interventions\.parquet|nights/\d{1,9}\.parquet|attempts/\d{1,9}-\d{1,9}\.parquet|paid/\d{1,9}\.jsonl"
    r"|questions/\d{1,9}\.parquet"
    r"|generations/\d{1,9}(-\d{1,9})?/(generation|programs|population)\.parquet",
    re.ASCII,
)
"""Names of all files of a run, relative to its directory; imports and downloads reject any other name."""

LOG = re.compile(r"nights/\d{1,9}\.log", re.ASCII)
"""Names of the logs of nights, which are not exported."""


@dataclass(frozen=True)
class Block:
    """Folder of committed generations: a single one, or all from `first` to `last`."""

    folder: Path
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def covers(self, other: Block) -> bool:
        """Return whether this block contains all generations of another."""
        return self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class RunFiles:
    """Directory of one run, and the backend through which its files are written.

    ```
    runs/<run>/run.parquet
               files.parquet                      the problem's own files
               nights/0001.parquet
               nights/0001.log                    what happened in the night, in text; not exported
               generations/000001/{generation,programs,population}.parquet
               generations/000002-000065/…        many generations, compacted
               attempts/000002-1.parquet          attempts that failed
               questions/000002.parquet           what the scoring asked a model, and the answers
               paid/000002.jsonl, ….slip          uncommitted completions and verdicts, pending batch jobs
               interventions.parquet              what people asked for: hints, pins, drops
               requests.jsonl                     the same before the run has taken it; not exported
               readings.jsonl                     what models said of winners; not exported
               lock
               origin                             path of the problem on this machine
               verdicts.key                       random; verdicts in paid/ count only with it; not exported
    ```
    """

    directory: Path
    backend: HistoryBackend = field(compare=False, repr=False)

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
        """File with the problem's path on this machine; neither exported nor written to object storage."""
        return self.directory / "origin"

    @property
    def verdict_key(self) -> Path:
        """File with a random key, neither exported nor written to object storage: verdicts without it are not ours."""
        return self.directory / "verdicts.key"

    def night(self, number: int) -> Path:
        return self.directory / "nights" / f"{number:04d}.parquet"

    def nights(self) -> list[Path]:
        return sorted((self.directory / "nights").glob("*.parquet"))

    def night_log(self, number: int) -> Path:
        return self.directory / "nights" / f"{number:04d}.log"

    @property
    def readings(self) -> Path:
        return self.directory / "readings.jsonl"

    @property
    def interventions(self) -> Path:
        return self.directory / "interventions.parquet"

    @property
    def requests(self) -> Path:
        return self.directory / "requests.jsonl"

    def night_logs(self) -> list[Path]:
        return sorted(path for path in (self.directory / "nights").glob("*.log") if path.stem.isdecimal())

    def night_numbers(self) -> list[int]:
        """Return the numbers of the nights, ascending; one is left out if its file is gone."""
        return sorted(int(path.stem) for path in self.nights() if path.stem.isdecimal())

    def last_night(self) -> int:
        """Return the number of the last night; 0 before the first."""
        return max(self.night_numbers(), default=0)

    @property
    def generations(self) -> Path:
        return self.directory / "generations"

    def generation(self, number: int) -> Path:
        """Return the folder to which a generation is committed; compaction moves it to a block."""
        return self.generations / f"{number:06d}"

    def blocks(self) -> list[Block]:
        """Return the blocks that are committed at this moment, in order, each generation once."""
        return blocks_named(self.generations, self.folders())

    def folders(self) -> list[str]:
        """Return the names in the generations folder, listed again if a compaction exchanged it meanwhile."""
        while True:
            try:
                descriptor = os.open(self.generations, os.O_RDONLY)
            except FileNotFoundError:
                return []
            try:
                names = os.listdir(descriptor)
                with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile: there are none
                    if os.path.samestat(os.fstat(descriptor), self.generations.stat()):
                        return names
            finally:
                os.close(descriptor)

    def read_consistently(self, read: Callable[[list[Block]], T]) -> T:
        """Read from the committed blocks; retry if a compaction removed some of them meanwhile."""
        while True:
            blocks = self.blocks()
            try:
                return read(blocks)
            except HistoryError:
                if self.blocks() == blocks:
                    raise

    def rows_of(self, table: str, columns: list[str]) -> list[dict[str, Any]]:
        """Return columns of a table of all committed generations, as rows."""
        tables = self.read_consistently(
            lambda blocks: [read_file(block.folder / f"{table}.parquet", columns=columns) for block in blocks]
        )
        return [row for found in tables for row in found.to_pylist()]

    def committed(self) -> list[int]:
        """Return the numbers of the committed generations, ascending."""
        return [number for block in self.blocks() for number in range(block.first, block.last + 1)]

    def tables(self) -> dict[str, list[Path]]:
        """Return the files that are committed at this moment, by table."""
        folders = [block.folder for block in self.blocks()]
        return {
            "runs": [self.run],
            "nights": self.nights(),
            "generations": [folder / "generation.parquet" for folder in folders],
            "attempts": sorted((self.directory / "attempts").glob("*.parquet")),
            "programs": [folder / "programs.parquet" for folder in folders],
            "population": [folder / "population.parquet" for folder in folders],
            "interventions": [self.interventions] if self.interventions.exists() else [],
            "questions": self.questions(),
        }

    def attempt(self, generation: int, attempt: int) -> Path:
        return self.directory / "attempts" / f"{generation:06d}-{attempt}.parquet"

    def questions_of(self, generation: int) -> Path:
        """Return the file with the answers to questions of the scoring that are committed with a generation."""
        return self.directory / "questions" / f"{generation:06d}.parquet"

    def questions(self) -> list[Path]:
        return sorted((self.directory / "questions").glob("*.parquet"))

    def attempts(self) -> list[Path]:
        return sorted((self.directory / "attempts").glob("*.parquet"))

    def failed_attempts(self, generation: int) -> int:
        """Return the number of attempts at a generation that failed; number 0 is the place of one that was put off."""
        return len(list((self.directory / "attempts").glob(f"{generation:06d}-[1-9]*.parquet")))

    def put_off(self) -> set[int]:
        """Return the numbers of the generations that were put off, committed since or not."""
        return {int(path.name.partition("-")[0]) for path in (self.directory / "attempts").glob("*-0.parquet")}

    def journal(self, generation: int) -> Path:
        """Return the journal file of a generation: completions that are paid for and not committed yet."""
        return self.directory / "paid" / f"{generation:06d}.jsonl"

    def journalled_generations(self) -> list[int]:
        """Return the numbers of the generations that have a journal, ascending."""
        return sorted(int(path.stem) for path in (self.directory / "paid").glob("*.jsonl") if path.stem.isdigit())

    def uncommitted_journals(self) -> list[Path]:
        """Return the journals of generations that are not committed; those of others may not be removed yet."""
        journalled = self.journalled_generations()  # first: one that is committed meanwhile counts there
        committed = set(self.committed())
        return [self.journal(number) for number in journalled if number not in committed]

    def is_unsure(self) -> bool:
        """Return whether a write had no answer, and may or may not have had its effect."""
        return self.backend.is_unsure(self.directory)

    def catch_up(self) -> None:
        """Make the files agree with the history's place again, after a write that had no answer.

        Raises:
            StoreUnavailable: If the place does not answer.
            RunIsBusy: If another machine has taken the run over.
        """
        self.backend.catch_up(self.directory)

    def require_run(self) -> None:
        """Check that the run has not been removed while it is under way.

        Raises:
            HistoryGone: If it has.
        """
        if not self.run.exists():
            raise HistoryGone(
                f"{self.run} was removed while the run is under way",
                remedy=f"Put {self.directory} back; then `overnight resume {self.run_id}` goes on.",
            )

    def probe(self) -> None:
        """Check that the run can be written to, by writing and removing a file.

        Raises:
            HistoryGone: If the run's files are gone.
            DiskFault: If the disk is full or read-only.
        """
        self.require_run()
        path = hidden_path(self.directory / "probe")
        with disk_errors(path):
            with open_private(path, "wb") as handle:
                handle.write(bytes(_PROBE_BYTES))
                sync(handle)
            path.unlink()

    def require_room(self, answers: int) -> None:
        """Check that the disk has room for a commit and a number of answers; quotas are not seen.

        Raises:
            DiskFault: If it has not, or cannot be asked.
        """
        with disk_errors(self.directory):
            disk = os.statvfs(self.directory)
        free, needed = disk.f_bavail * disk.f_frsize, _PROBE_BYTES + answers * _ANSWER_BYTES
        if disk.f_blocks and free < needed:  # some network file systems say 0 of everything
            raise DiskFault(
                f"{self.directory} has no room for further answers: {free / 2**20:.1f} MiB are free, and "
                f"{needed / 2**20:.1f} are needed for {answers} in flight and a commit",
                remedy=FREE_SPACE,
            )

    def remove_leftovers(self) -> None:
        """Remove unfinished files and committed journals that a killed process left. The caller holds the lock."""
        shutil.rmtree(self.directory / HIDDEN, ignore_errors=True)
        for generation in set(self.committed()) & set(self.journalled_generations()):
            self.journal(generation).unlink(missing_ok=True)


MOST_GENERATIONS = 1_000_000
"""Limit on the number of a generation, since the name of a block may claim any range."""


def blocks_named(folder: Path, names: Sequence[str]) -> list[Block]:
    """Return the blocks with these folder names, in order, without those that another one contains.

    Blocks that no run can have are left out, too: with too high a number, or overlapping another one in part.
    """
    found = [(name, _BLOCK.fullmatch(name)) for name in names]
    blocks = [Block(folder / name, int(match[1]), int(match[2] or match[1])) for name, match in found if match]
    disjoint: list[Block] = []
    for block in sorted(blocks, key=lambda block: (block.first, -block.last)):
        if block.first <= block.last <= MOST_GENERATIONS and not (disjoint and block.first <= disjoint[-1].last):
            disjoint.append(block)
    return disjoint


def runs_in(history: HistoryBackend) -> list[RunFiles]:
    """Return all runs of a history, oldest first."""
    folder = history.root / RUNS
    if not folder.is_dir():
        return []
    # DuckDB would take other names for patterns of many files.
    names = sorted(path.name for path in folder.iterdir() if RUN_ID.fullmatch(path.name))
    return [RunFiles(folder / name, history) for name in names if (folder / name / "run.parquet").exists()]


def files_of(history: HistoryBackend, run_id: str) -> RunFiles:
    """Return the files of one run, whether they exist or not."""
    return RunFiles(history.root / RUNS / run_id, history)


def tables_in(folder: Path, run_id: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return the files in the folder of a history that are committed now, by table; of one run, or of all."""
    found: dict[str, list[str]] = {name: [] for name in (*ALL, "attempts", "journals")}
    for run in runs_in(LocalBackend(folder)):  # files are read from the folder, whatever keeps them
        if run_id not in (None, run.run_id):
            continue
        journals = run.uncommitted_journals()
        for name, paths in (run.tables() | {"journals": journals}).items():
            require_plain(paths)
            found[name] += map(str, paths)
    return {name: tuple(paths) for name, paths in found.items()}


def require_plain(paths: Sequence[Path]) -> None:
    """Check that all are regular files: reading a pipe would block, and a link may lead out of the history."""
    for path in paths:
        if not is_plain_file(path) and os.path.lexists(path):
            raise HistoryError(f"{path} is no regular file", remedy="Inspect it, and remove it.")
