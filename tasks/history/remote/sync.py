"""Update the local copy of a history on object storage, one whole generation at a time."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from overnight.schemas.errors import RunIsBusy, StoreUnavailable
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.ids import RUN_ID
from overnight.tasks.history.atomic_files import append_lines, commit_lock, read_lines, sync_directory
from overnight.tasks.history.files import FILE, LOG, Block, RunFiles, blocks_named, files_of
from overnight.tasks.history.journal import Journal
from overnight.tasks.history.private_files import make_folder
from overnight.tasks.history.remote.mirror import Mirror
from overnight.tasks.history.remote.object_store import ObjectInfo
from overnight.tasks.history.run_lock import locked_here

_PULLING = ".pulling"
_TRIES = 10
_UNSETTLED_S = 5
"""Age in seconds below which an object may be replaced by another of the same size and time."""
_PARTS = ("programs.parquet", "population.parquet", "generation.parquet")
_COMPLETIONS = re.compile(r"\d{1,9}\.jsonl", re.ASCII)
_BATCH = re.compile(r"[\w-]+\.slip", re.ASCII)


def pull(mirror: Mirror, history: HistoryBackend, run_id: str) -> None:
    """Update a copy of one run, or of all, from the store. Readers see each generation whole, and none twice."""
    with mirror.exclusive_update():
        for _ in range(_TRIES):
            try:
                return _pull_once(mirror, history, run_id)
            except FileNotFoundError:
                continue  # a compaction on another machine removed an object meanwhile
    raise StoreUnavailable(f"{mirror.url}: its objects keep changing", remedy="Try again.")


def _pull_once(mirror: Mirror, history: HistoryBackend, run_id: str) -> None:
    scratch = mirror.root / _PULLING
    shutil.rmtree(scratch, ignore_errors=True)
    found = _by_run(mirror.store.list(f"runs/{run_id}"))
    if not found and not run_id:
        mirror.store.require_bucket()
    runs = [_RunUpdate(mirror, files_of(history, name), entries, scratch / name) for name, entries in found.items()]
    mirror.store.each(lambda item: mirror.store.fetch(*item), [item for run in runs for item in run.downloads()])
    for run in runs:
        run.apply()
    shutil.rmtree(scratch, ignore_errors=True)
    if not run_id:
        _remove_deleted_runs(mirror, history, found)


def _by_run(entries: dict[str, ObjectInfo]) -> dict[str, dict[str, ObjectInfo]]:
    """Return the entries of every visible run, by run id and then by name in the run's directory."""
    found: defaultdict[str, dict[str, ObjectInfo]] = defaultdict(dict)
    for key, entry in entries.items():
        _, _, rest = key.partition("/")
        run_id, _, name = rest.partition("/")
        is_downloaded = LOG.fullmatch(name) or (FILE.fullmatch(name) and not name.startswith("paid/"))
        if RUN_ID.fullmatch(run_id) and is_downloaded:
            found[run_id][name] = entry
    return {run_id: names for run_id, names in found.items() if "run.parquet" in names}


def _remove_deleted_runs(mirror: Mirror, history: HistoryBackend, listed: Collection[str]) -> None:
    """Remove the copies of runs that are no longer on the store, except those that a night on this machine holds.

    Each is looked up once more, since it may have been created after the listing.
    """
    for row in (mirror.root / "runs").glob("*/run.parquet"):
        run_id = row.parent.name
        if run_id not in listed and not mirror.store.has(mirror.key(row)):
            with contextlib.suppress(RunIsBusy), locked_here(files_of(history, run_id)):
                shutil.rmtree(row.parent, ignore_errors=True)


class _RunUpdate:
    """Files of one run that a copy lacks, downloaded to a scratch folder and then made visible.

    The entries are those of the run on the store, by name in its directory.
    """

    def __init__(self, mirror: Mirror, files: RunFiles, entries: dict[str, ObjectInfo], scratch: Path) -> None:
        self._key = mirror.key(files.directory)
        self._files = files
        self._entries = entries
        self._scratch = scratch
        self._listed_at = time.time()
        local_blocks = files.blocks()
        remote_blocks = blocks_named(files.generations, _complete_folders(entries))
        self._blocks = [block for block in remote_blocks if not any(other.covers(block) for other in local_blocks)]
        singles = [name for name in entries if not name.startswith("generations/")]
        versions = {name: _local_version(files.directory / name) for name in singles}
        self._singles = {
            name: version
            for name, version in versions.items()
            if version is None or _is_outdated(name, version, entries[name])
        }

    def downloads(self) -> Iterator[tuple[str, Path]]:
        """Yield the keys of the objects to download, each with its target."""
        names = [f"generations/{block.folder.name}/{part}" for block in self._blocks for part in _PARTS]
        for name in (*names, *self._singles):
            target = self._scratch / name
            make_folder(target.parent)
            yield f"{self._key}/{name}", target

    def apply(self) -> None:
        """Make the downloaded files visible."""
        make_folder(self._files.directory)
        with commit_lock(self._files.directory):
            for block in self._blocks:
                if not block.folder.exists():
                    self._move(f"generations/{block.folder.name}")
            self._remove_covered_blocks()
            for name, version in sorted(self._singles.items(), key=lambda item: item[0] == "run.parquet"):
                # If it differs, the process that holds the run wrote it meanwhile.
                if _local_version(self._files.directory / name) == version:
                    self._set_time(name)
                    self._move(name)

    def _move(self, name: str) -> None:
        target = self._files.directory / name
        make_folder(target.parent)
        os.replace(self._scratch / name, target)
        sync_directory(target.parent)

    def _set_time(self, name: str) -> None:
        """Give a file the store's modification time, which identifies its version in later updates.

        A recent object may still be replaced at the same time, so its file gets an earlier one and is fetched again.
        """
        _, changed_ns = _remote_version(self._entries[name]) or (0, 0)
        if changed_ns / 1e9 > self._listed_at - _UNSETTLED_S:
            changed_ns -= 1_000_000
        os.utime(self._scratch / name, ns=(changed_ns, changed_ns))

    def _remove_covered_blocks(self) -> None:
        visible = {block.folder.name for block in self._files.blocks()}
        for name in set(self._files.folders()) - visible:
            shutil.rmtree(self._files.generations / name, ignore_errors=True)


def _complete_folders(entries: dict[str, ObjectInfo]) -> list[str]:
    names = {name.split("/")[1] for name in entries if name.startswith("generations/")}
    return [name for name in names if all(f"generations/{name}/{part}" in entries for part in _PARTS)]


def _local_version(path: Path) -> tuple[int, int] | None:
    """Return a file's size and modification time in ns; `None` if there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _remote_version(entry: ObjectInfo) -> tuple[int, int] | None:
    """Return an object's size and modification time in ns; `None` if the store does not report times."""
    changed_at = entry.changed_at
    return None if changed_at is None else (entry.size, round(changed_at.timestamp() * 1e6) * 1000)


def _is_outdated(name: str, version: tuple[int, int], entry: ObjectInfo) -> bool:
    """Return whether a file on this machine has to be replaced. A log grows here before it does on the store."""
    return version[0] < entry.size if LOG.fullmatch(name) else version != _remote_version(entry)


def merge_uncommitted(mirror: Mirror, files: RunFiles) -> None:
    """Merge journals and pending batch jobs of both sides: an outage may leave lines on one side only.

    This process holds the run.
    """
    folder, store, committed = files.directory / "paid", mirror.store, set(files.committed())
    make_folder(folder)
    keys = {Path(key).name: key for key in store.list(mirror.key(folder))}
    for name in sorted({*keys, *os.listdir(folder)}):
        remote_lines = store.get(keys[name]).split(b"\n")[:-1] if name in keys else []
        if _COMPLETIONS.fullmatch(name) and int(name.split(".")[0]) not in committed:
            lines = _merge_completions(Journal(folder / name, files.backend), remote_lines)
        elif _BATCH.fullmatch(name):
            lines = _merge_batch(folder / name, remote_lines)
        else:
            continue
        if set(lines) - set(remote_lines):
            store.put(mirror.key(folder / name), b"".join(line + b"\n" for line in lines))


def _merge_completions(journal: Journal, remote_lines: list[bytes]) -> list[bytes]:
    local_lines = journal.lines()
    if missing := [line for line in remote_lines if line not in set(local_lines)]:
        journal.add_lines(missing)
    return local_lines + missing


def _merge_batch(path: Path, remote_lines: list[bytes]) -> list[bytes]:
    """Return the store's lines on a batch job, or the local ones if they continue them.

    A batch job is written to the store before it is submitted, so one that is on this machine alone was not submitted.
    """
    local_lines = read_lines(path)
    if remote_lines and local_lines[: len(remote_lines)] == remote_lines:
        return local_lines
    path.unlink(missing_ok=True)
    if remote_lines:
        append_lines(path, remote_lines)
    return remote_lines


def remove_merged_generations(mirror: Mirror, files: RunFiles) -> None:
    """Remove generations from the store that a block contains.

    Raises:
        StoreUnavailable: If the store does not answer; the next night tries again.
    """
    base = mirror.key(files.generations)
    names = [key.removeprefix(f"{base}/") for key in mirror.store.list(base)]
    folders = {name.split("/")[0] for name in names if FILE.fullmatch(f"generations/{name}")}
    visible = blocks_named(Path(), [folder for folder in folders if f"{folder}/{_PARTS[-1]}" in names])
    mirror.store.delete_folders(f"{base}/{folder}" for folder in folders if _is_covered(folder, visible))


def _is_covered(folder: str, blocks: list[Block]) -> bool:
    (block,) = blocks_named(Path(), [folder])
    return any(other.covers(block) and other.folder.name != folder for other in blocks)


def remove_committed_journals(mirror: Mirror, files: RunFiles) -> None:
    """Remove the journals of committed generations from the store, for a run that this process holds.

    Raises:
        StoreUnavailable: If the store does not answer; the next night tries again.
    """
    store, base, committed = mirror.store, mirror.key(files.directory / "paid"), set(files.committed())
    names = [Path(key).name for key in store.list(base)]
    obsolete = [name for name in names if _COMPLETIONS.fullmatch(name) and int(name.split(".")[0]) in committed]
    if names and obsolete == names:
        store.delete_folders([base])
    else:
        store.delete(f"{base}/{name}" for name in obsolete)
