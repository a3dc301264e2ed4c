"""The copy of a history on object storage, brought up to date: each generation is there whole or not there."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from schemas.errors import StoreUnavailable
from schemas.ids import RUN_ID
from tasks.history.atomic_files import append_lines, no_commit, read_lines, sync_directory
from tasks.history.files import FILE, Block, RunFiles, blocks_named, files_of
from tasks.history.journal import Journal
from tasks.history.private_files import make_folder
from tasks.history.remote.mirror import Mirror, hold_of, mirror_of
from tasks.history.remote.object_store import ObjectInfo

_PULLING = ".pulling"
_TRIES = 10
_UNSETTLED_S = 5
_PARTS = ("programs.parquet", "population.parquet", "generation.parquet")
_COMPLETIONS = re.compile(r"\d{1,9}\.jsonl", re.ASCII)
_BATCH = re.compile(r"[\w-]+\.slip", re.ASCII)


def refresh(history: Path, run_id: str = "") -> None:
    """Brings a history up to date where it is a copy.

    Args:
        history: Its directory.
        run_id: Of the only run that is looked at; by default all.

    Raises:
        StoreUnavailable: If the store does not answer.
        EnvironmentFault: If it refuses.
    """
    if mirror := mirror_of(history):
        pull(mirror, run_id)


def probe(history: Path) -> None:
    """Looks whether a history can be written to where it is a copy: an object is made and removed.

    Raises:
        StoreUnavailable: If the store does not answer.
        EnvironmentFault: If it refuses.
    """
    if mirror := mirror_of(history):
        key = f"probe-{mirror.name}"
        mirror.store.put(key, b"overnight was here")
        mirror.store.delete([key])


def pull(mirror: Mirror, run_id: str = "") -> None:
    """Brings a copy up to what is on the store. Readers meanwhile see each generation whole, and none twice.

    Args:
        mirror: The copy.
        run_id: Of the only run that is looked at; by default all.

    Raises:
        StoreUnavailable: If the store does not answer.
        EnvironmentFault: If it refuses.
    """
    with mirror.one_at_a_time():
        for _ in range(_TRIES):
            try:
                return _bring(mirror, run_id)
            except FileNotFoundError:
                continue  # a compaction on another machine took it away meanwhile
    raise StoreUnavailable(f"{mirror.url}: what is there keeps changing", remedy="Ask again.")


def _bring(mirror: Mirror, run_id: str) -> None:
    scratch = mirror.root / _PULLING
    shutil.rmtree(scratch, ignore_errors=True)
    found = _by_run(mirror.store.list(f"runs/{run_id}"))
    if not found and not run_id:
        mirror.store.require_bucket()
    runs = [_Arrival(mirror, files_of(mirror.root, name), entries, scratch / name) for name, entries in found.items()]
    mirror.store.each(lambda item: mirror.store.fetch(*item), [item for run in runs for item in run.wanted()])
    for run in runs:
        run.show()
    shutil.rmtree(scratch, ignore_errors=True)
    if not run_id:
        _forget(mirror, found)


def _by_run(entries: dict[str, ObjectInfo]) -> dict[str, dict[str, ObjectInfo]]:
    """What there is of every run that can be seen, by name in its directory."""
    found: defaultdict[str, dict[str, ObjectInfo]] = defaultdict(dict)
    for key, entry in entries.items():
        _, _, rest = key.partition("/")
        run_id, _, name = rest.partition("/")
        if RUN_ID.fullmatch(run_id) and FILE.fullmatch(name) and not name.startswith("paid/"):
            found[run_id][name] = entry
    return {run_id: names for run_id, names in found.items() if "run.parquet" in names}


def _forget(mirror: Mirror, known: Collection[str]) -> None:
    """Removes the runs that are not on the store any more; one that was begun meanwhile is there on a second look."""
    for folder in (mirror.root / "runs").glob("*/run.parquet"):
        run = folder.parent
        if run.name not in known and hold_of(run) is None and not mirror.store.has(mirror.key(folder)):
            shutil.rmtree(run, ignore_errors=True)


class _Arrival:
    """What a copy lacks of one run: fetched out of sight, then shown.

    Args:
        mirror: The copy.
        files: Of the run.
        entries: What is on the store of it.
        scratch: Where it is fetched to.
    """

    def __init__(self, mirror: Mirror, files: RunFiles, entries: dict[str, ObjectInfo], scratch: Path) -> None:
        self._key = mirror.key(files.directory)
        self._files = files
        self._entries = entries
        self._scratch = scratch
        self._listed = time.time()
        there = files.blocks()
        offered = blocks_named(files.generations, _whole_folders(entries))
        self._blocks = [one for one in offered if not any(other.covers(one) for other in there)]
        singles = [name for name in entries if not name.startswith("generations/")]
        marks = {name: _mark(files.directory / name) for name in singles}
        self._singles = {name: mark for name, mark in marks.items() if not mark or mark != _mark_of(entries[name])}

    def wanted(self) -> Iterator[tuple[str, Path]]:
        """Keys, and where to write what is behind them."""
        names = [f"generations/{block.folder.name}/{part}" for block in self._blocks for part in _PARTS]
        for name in (*names, *self._singles):
            target = self._scratch / name
            make_folder(target.parent)
            yield f"{self._key}/{name}", target

    def show(self) -> None:
        make_folder(self._files.directory)
        with no_commit(self._files.directory):
            for block in self._blocks:
                if not block.folder.exists():
                    self._move(f"generations/{block.folder.name}")
            self._remove_the_covered()
            for name, mark in sorted(self._singles.items(), key=lambda item: item[0] == "run.parquet"):
                if _mark(self._files.directory / name) == mark:  # else whoever holds the run wrote it meanwhile
                    self._settle(name)
                    self._move(name)

    def _move(self, name: str) -> None:
        target = self._files.directory / name
        make_folder(target.parent)
        os.replace(self._scratch / name, target)
        sync_directory(target.parent)

    def _settle(self, name: str) -> None:
        """Gives it the store's time, by which it is known again; an earlier one where it may change within the same."""
        _, changed_ns = _mark_of(self._entries[name]) or (0, 0)
        if changed_ns / 1e9 > self._listed - _UNSETTLED_S:
            changed_ns -= 1_000_000
        os.utime(self._scratch / name, ns=(changed_ns, changed_ns))

    def _remove_the_covered(self) -> None:
        shown = {block.folder.name for block in self._files.blocks()}
        for name in set(self._files.folders()) - shown:
            shutil.rmtree(self._files.generations / name, ignore_errors=True)


def _whole_folders(entries: dict[str, ObjectInfo]) -> list[str]:
    names = {name.split("/")[1] for name in entries if name.startswith("generations/")}
    return [name for name in names if all(f"generations/{name}/{part}" in entries for part in _PARTS)]


def _mark(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change in ns; `None` where there is no file."""
    try:
        said = path.stat()
    except FileNotFoundError:
        return None
    return said.st_size, said.st_mtime_ns


def _mark_of(entry: ObjectInfo) -> tuple[int, int] | None:
    changed_at = entry.changed_at
    return None if changed_at is None else (entry.size, round(changed_at.timestamp() * 1e6) * 1000)


# Of a run that this process holds


def is_unsure(files: RunFiles) -> bool:
    """Whether the store was asked for something that it may or may not have done."""
    hold = hold_of(files.directory)
    return hold is not None and hold.is_unsure


def catch_up(files: RunFiles) -> None:
    """Brings a run up to date on both sides, where this process holds it in a copy and something is unsure.

    Raises:
        StoreUnavailable: If the store does not answer.
        RunIsBusy: If another machine has taken the run over.
    """
    hold = hold_of(files.directory)
    if hold is None or not hold.is_unsure:
        return
    if not hold.lease.is_held():
        hold.lease.take()
    pull(hold.mirror, files.run_id)
    with hold.sending:
        _take_paid(hold.mirror, files)
    hold.is_unsure = False


def _take_paid(mirror: Mirror, files: RunFiles) -> None:
    """What is paid for and not committed, from each side to the other: only an outage leaves lines on one alone."""
    folder, store, committed = files.directory / "paid", mirror.store, set(files.committed())
    make_folder(folder)
    keys = {Path(key).name: key for key in store.list(mirror.key(folder))}
    for name in sorted({*keys, *os.listdir(folder)}):
        theirs = store.get(keys[name]).split(b"\n")[:-1] if name in keys else []
        if _COMPLETIONS.fullmatch(name) and int(name.split(".")[0]) not in committed:
            lines = _with_completions(folder / name, theirs)
        elif _BATCH.fullmatch(name):
            lines = _last_word_on_batch(folder / name, theirs)
        else:
            continue
        if set(lines) - set(theirs):
            store.put(mirror.key(folder / name), b"".join(line + b"\n" for line in lines))


def _with_completions(path: Path, theirs: list[bytes]) -> list[bytes]:
    ours = read_lines(path)
    if missing := [line for line in theirs if line not in set(ours)]:
        Journal(path).take(missing)
    return ours + missing


def _last_word_on_batch(path: Path, theirs: list[bytes]) -> list[bytes]:
    """The store's, unless this machine went on from there: a batch is told of before it is sent."""
    ours = read_lines(path)
    if theirs and ours[: len(theirs)] == theirs:
        return ours
    path.unlink(missing_ok=True)
    if theirs:
        append_lines(path, theirs)
    return theirs


def tidy(files: RunFiles) -> None:
    """Removes generations from the store that lie in a block.

    Raises:
        StoreUnavailable: If the store does not answer; the next night does it then.
    """
    mirror = mirror_of(files.directory)
    if mirror is None:
        return
    base = mirror.key(files.generations)
    names = [key.removeprefix(f"{base}/") for key in mirror.store.list(base)]
    folders = {name.split("/")[0] for name in names if FILE.fullmatch(f"generations/{name}")}
    shown = blocks_named(Path(), [one for one in folders if f"{one}/{_PARTS[-1]}" in names])
    mirror.store.delete_folders(f"{base}/{one}" for one in folders if _lies_in_another(one, shown))


def _lies_in_another(folder: str, shown: list[Block]) -> bool:
    (block,) = blocks_named(Path(), [folder])
    return any(one.covers(block) and one.folder.name != folder for one in shown)


def tidy_paid(files: RunFiles) -> None:
    """Removes completions from the store that are part of a generation, of a run that this process holds.

    Raises:
        StoreUnavailable: If the store does not answer; the next night does it then.
    """
    hold = hold_of(files.directory)
    if hold is None:
        return
    store, base, committed = hold.mirror.store, hold.mirror.key(files.directory / "paid"), set(files.committed())
    with hold.sending:
        names = [Path(key).name for key in store.list(base)]
        over = [one for one in names if _COMPLETIONS.fullmatch(one) and int(one.split(".")[0]) in committed]
        if names and over == names:
            store.delete_folders([base])
        else:
            store.delete(f"{base}/{name}" for name in over)
