"""Files of the history: writes are atomic even if the process dies, and damaged files are errors."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overnight.schemas import tables
from overnight.schemas.errors import DiskFault, EnvironmentFault, ExitCode, HistoryError, RunIsBusy, UsageError
from overnight.tasks.history import atomic_files, record, stored_run
from overnight.tasks.history.atomic_files import read_file, write_file
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of, runs_in, tables_in
from overnight.tasks.history.find_run import find_run
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.run_lock import lock_to_read, run_lock
from overnight.testing.made import NOW, create, grow
from tests.history import writer


def row(name: str = "r", size: int = 1) -> pa.Table:
    return pa.Table.from_pylist([{"run_id": name, "generation": 1}] * size, schema=tables.POPULATION)


PATTERNS = (
    "runs/*/run.parquet", "runs/*/nights/*.parquet", "runs/*/attempts/*.parquet",
    "runs/*/generations/*/generation.parquet", "runs/*/generations/*/programs.parquet",
    "runs/*/generations/*/population.parquet",
)  # fmt: skip


def visible_files(history: Path) -> set[str]:
    """Return the files that the patterns of tasks/history/README.md match."""
    found = {str(path.relative_to(history)) for pattern in PATTERNS for path in history.glob(pattern)}
    return found | {str(run.directory.relative_to(history)) for run in runs_in(LocalBackend(history))}


def hidden_files(files: RunFiles) -> list[Path]:
    return [path for path in files.directory.rglob("*") if ".writing" in path.parts]


def assert_whole(files: RunFiles) -> int:
    """Check that all generations up to the last one are there and whole; return the last one's number."""
    past = stored_run.read_run_history(files)
    assert files.committed() == list(range(past.generations + 1))
    for number in files.committed():
        folder = files.generation(number)
        assert sorted(path.name for path in folder.iterdir()) == [
            "generation.parquet",
            "population.parquet",
            "programs.parquet",
        ]
        candidates = read_file(folder / "generation.parquet").to_pylist()[0]["candidates"]
        assert read_file(folder / "programs.parquet").num_rows == candidates
    return past.generations


def assert_views_read_what_is_visible(history: Path) -> None:
    found = {str(Path(path).relative_to(history)) for paths in tables_in(history).values() for path in paths}
    assert found == {path for path in visible_files(history) if path.endswith(".parquet")}


# Writing


class Killed(BaseException):
    """Simulated end of the process."""


_STEPS = (
    (os, "fsync"),
    (os, "rename"),
    (os, "replace"),
    (pq, "write_table"),
    (atomic_files, "make_folder"),
)
COMMIT_STEPS = 12
"""Number of these steps in one commit."""


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, fault: Callable[[], BaseException], *, after: bool) -> None:
    """Raise a fault before or after the n-th step of writing."""
    taken = 0

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken < step:
                return original(*args, **kwargs)
            if taken == step and after:
                original(*args, **kwargs)
            raise fault()

        return stepped

    for owner, name in _STEPS:
        monkeypatch.setattr(owner, name, wrap(getattr(owner, name)))


# The end of one step is the beginning of the next, except after the last.
@pytest.mark.parametrize(
    ("step", "after"), [*((step, False) for step in range(1, COMMIT_STEPS + 2)), (COMMIT_STEPS, True)]
)
def test_a_process_that_ends_at_any_step_leaves_a_whole_generation_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, after: bool
):
    files = create(tmp_path)
    before = visible_files(tmp_path)
    with monkeypatch.context() as broken:
        stop_at(step, broken, Killed, after=after)
        with pytest.raises(Killed) if step <= COMMIT_STEPS else contextlib.nullcontext():
            grow(files, 1)
    last = assert_whole(files)
    assert_views_read_what_is_visible(tmp_path)
    assert visible_files(tmp_path) == before if last == 0 else len(visible_files(tmp_path)) == len(before) + 3
    with run_lock(files):
        assert hidden_files(files) == []
        grow(files, 2)
    assert assert_whole(files) == last + 2


@pytest.mark.parametrize("step", range(1, COMMIT_STEPS + 1))
def test_a_full_disk_at_any_step_is_an_error_and_the_process_can_continue_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    files = create(tmp_path)
    with monkeypatch.context() as broken:
        stop_at(step, broken, lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), after=False)
        with pytest.raises(EnvironmentFault, match="No space left on device") as caught:
            grow(files, 1)
    assert caught.value.exit_code is ExitCode.ENVIRONMENT
    assert "--history" in caught.value.remedy
    assert [path for path in hidden_files(files) if path.suffix == ".parquet"] == [], "the space is freed at once"
    last = assert_whole(files)
    assert_views_read_what_is_visible(tmp_path)
    grow(files, 1)
    assert assert_whole(files) == last + 1


@pytest.mark.parametrize("step", range(1, 18))
def test_a_run_is_visible_only_once_it_has_its_start_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    with monkeypatch.context() as broken:
        stop_at(step, broken, Killed, after=False)
        with contextlib.suppress(Killed):
            create(tmp_path)
    for files in runs_in(LocalBackend(tmp_path)):
        assert stored_run.read_run(files).run_id == files.run_id
        assert assert_whole(files) == 0


def test_a_lock_that_cannot_be_opened_is_an_environment_fault(tmp_path: Path):
    files = files_of(LocalBackend(tmp_path), "r")
    (files.directory / "lock").mkdir(parents=True)
    with pytest.raises(EnvironmentFault, match="lock"), run_lock(files):
        pass


def test_a_run_that_can_only_be_read_is_locked_by_nobody_and_busy_where_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = create(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # a superuser may write anywhere
    with lock_to_read(files), run_lock(files), pytest.raises(RunIsBusy, match="under way in another process"):
        lock_to_read(files).__enter__()


def test_a_file_system_without_locks_is_an_environment_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    files = create(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(EnvironmentFault, match="lock: No locks available; its file system has no locks") as caught:
        run_lock(files).__enter__()
    assert "--history" in caught.value.remedy
    with pytest.raises(EnvironmentFault, match="has no locks"):
        LocalBackend(tmp_path / "new").probe()


def test_room_for_a_commit_and_for_each_answer_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = create(tmp_path)
    disk = SimpleNamespace(f_frsize=1024, f_bavail=1024 + 64, f_blocks=1)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    files.require_room(1)
    with pytest.raises(DiskFault, match=r"no room .* 1\.1 MiB are free, and 1\.1 are needed for 2 in flight") as caught:
        files.require_room(2)
    assert "Free some space" in caught.value.remedy
    disk.f_bavail = disk.f_blocks = 0
    files.require_room(2)  # what reports no size may have room


# Killed processes


def test_the_journal_of_a_committed_generation_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = create(tmp_path)
    for generation in (1, 2):
        files.journal(generation).parent.mkdir(exist_ok=True)
        files.journal(generation).write_bytes(b'{"of": "this generation"}\n')
    with monkeypatch.context() as broken:
        broken.setattr(record.Journal, "discard", raise_killed)
        with pytest.raises(Killed):
            grow(files, 1)
    assert files.journalled_generations() == [1, 2], (
        "the process died between the commit and the removal of its journal"
    )
    with run_lock(files):
        assert files.journalled_generations() == [2]


def raise_killed(*_: object) -> None:
    raise Killed


def test_one_process_holds_a_run_and_a_kill_releases_it(tmp_path: Path):
    files = create(tmp_path)
    process = writer.start(files, 10_000)
    with pytest.raises(UsageError, match="another process") as caught, run_lock(files):
        pass
    assert caught.value.remedy
    assert process.poll() is None
    process.kill()
    process.wait()
    with run_lock(files):
        grow(files, 1)


def test_a_process_without_the_lock_removes_nothing(tmp_path: Path):
    files = create(tmp_path)
    with run_lock(files):
        half_written = files.directory / ".writing" / "000001.1"
        half_written.mkdir(parents=True)
        with pytest.raises(UsageError), run_lock(files):
            pass
        assert half_written.exists()
    with run_lock(files):
        assert not half_written.exists()


# Finding runs


@pytest.fixture
def three_runs(tmp_path: Path) -> Path:
    """Provide a history whose newest run, by the time of its start, has the oldest file."""
    for age, name in enumerate(("20260103-0000-toy-aaaa", "20260102-0000-toy-bbbb", "20260102-0000-toy-cccc")):
        write_run(tmp_path, name, NOW - timedelta(days=age))
        os.utime(files_of(LocalBackend(tmp_path), name).run, (1e9 + age, 1e9 + age))
    return tmp_path


def write_run(history: Path, name: str, started_at: datetime | None) -> None:
    content = [{"run_id": name, "started_at": started_at}]
    table = pa.Table.from_pylist(content, schema=tables.RUNS)
    write_file(LocalBackend(history), files_of(LocalBackend(history), name).run, table)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("20260102-0000-toy-bbbb", "20260102-0000-toy-bbbb"),
        ("20260103", "20260103-0000-toy-aaaa"),
        ("20260102-0000-toy-c", "20260102-0000-toy-cccc"),
        ("last", "20260103-0000-toy-aaaa"),
        ("Toy", "20260103-0000-toy-aaaa"),
    ],
)
def test_a_run_is_found_by_its_id_a_prefix_last_or_the_name_of_its_problem(three_runs: Path, name: str, found: str):
    assert find_run(LocalBackend(three_runs), name).run_id == found


@pytest.mark.parametrize(
    "starts",
    [
        {"b-named-by-hand": NOW + timedelta(seconds=1), "20260103-0000-toy-aaaa": NOW},
        {"a": NOW, "b": NOW, "c": NOW - timedelta(seconds=1)},
        {"a": NOW, "b": None},
        {"a": None, "b": None},
    ],
)
def test_the_last_run_is_the_same_in_sql_and_after_copying(tmp_path: Path, starts: dict[str, datetime | None]):
    for name, started_at in starts.items():
        write_run(tmp_path / "there", name, started_at)
    expected = max(starts, key=lambda name: (starts[name] or NOW - timedelta(days=1), name))
    shutil.copytree(tmp_path / "there", tmp_path / "copy", copy_function=shutil.copyfile)
    for place, name in enumerate(sorted(starts, reverse=True)):
        os.utime(files_of(LocalBackend(tmp_path / "copy"), name).run, (1e9 + place, 1e9 + place))
    for history in (tmp_path / "there", tmp_path / "copy"):
        assert find_run(LocalBackend(history), "last").run_id == expected
        assert Database(history).rows("SELECT the_run('last') AS run") == [{"run": expected}]


def test_the_last_run_is_not_guessed_if_a_row_cannot_be_read(three_runs: Path):
    path = files_of(LocalBackend(three_runs), "20260102-0000-toy-bbbb").run
    path.write_bytes(b"nonsense")
    with pytest.raises(HistoryError, match=r"bbbb.*is damaged"):
        find_run(LocalBackend(three_runs), "last")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(HistoryError, match=r"bbbb.*is no regular file"):
        find_run(LocalBackend(three_runs), "last")


def test_a_name_that_fits_several_runs_names_them(three_runs: Path):
    with pytest.raises(UsageError, match="fits 2 runs: 20260102-0000-toy-bbbb, 20260102-0000-toy-cccc") as caught:
        find_run(LocalBackend(three_runs), "20260102")
    assert "longer prefix" in caught.value.remedy


def test_an_id_that_is_a_prefix_of_another_is_found(three_runs: Path):
    write_file(LocalBackend(three_runs), files_of(LocalBackend(three_runs), "20260103-0000-toy-aaaa-again").run, row())
    assert find_run(LocalBackend(three_runs), "20260103-0000-toy-aaaa").run_id == "20260103-0000-toy-aaaa"


def test_an_unknown_run_and_an_empty_history_are_errors_with_a_remedy(three_runs: Path):
    with pytest.raises(UsageError, match="no run 'nothing'") as caught:
        find_run(LocalBackend(three_runs), "nothing")
    assert "overnight runs" in caught.value.remedy
    for empty in (three_runs / "nowhere", three_runs / "runs"):
        with pytest.raises(UsageError, match="no run in") as caught:
            find_run(LocalBackend(empty), "last")
        assert "overnight run " in caught.value.remedy


def test_runs_are_listed_by_id_without_folders_that_have_no_row(three_runs: Path):
    (three_runs / "runs" / "20250101-half-made").mkdir()
    (three_runs / "runs" / "a-note.txt").touch()
    assert [run.run_id[-4:] for run in runs_in(LocalBackend(three_runs))] == ["bbbb", "cccc", "aaaa"]


# Damage


def test_the_error_names_a_missing_file(tmp_path: Path):
    with pytest.raises(HistoryError, match=r"no file .*nowhere\.parquet"):
        read_file(tmp_path / "nowhere.parquet")


def test_a_truncated_file_is_an_error(tmp_path: Path):
    path = create(tmp_path).generation(0) / "programs.parquet"
    data = path.read_bytes()
    for size in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(HistoryError, match="damaged") as caught:
            read_file(path)
        assert caught.value.remedy


def test_a_file_with_flipped_bits_is_an_error_or_reads_unchanged(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 1)
    path = files.generation(1) / "programs.parquet"
    data, written = path.read_bytes(), read_file(path).to_pylist()
    flips = random.Random(0)
    refused = 0
    for _ in range(150):
        # The footer, which holds the layout, has no checksum of its own: there, any error but a wrong value is found.
        damaged = bytearray(data)
        damaged[flips.randrange(4, pages_end(path, data))] ^= 1 << flips.randrange(8)
        path.write_bytes(damaged)
        try:
            assert read_file(path).to_pylist() == written
        except HistoryError:
            refused += 1
        path.write_bytes(data)
    assert refused > 75


def pages_end(path: Path, data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def test_a_file_that_is_replaced_while_it_is_read_is_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "runs" / "r" / "run.parquet"
    write_file(LocalBackend(tmp_path), path, row("before"))
    read_metadata = pq.read_metadata

    def replaced_after(source: pa.NativeFile) -> pq.FileMetaData:
        metadata = read_metadata(source)
        write_file(LocalBackend(tmp_path), path, row("a longer one", size=100))
        return metadata

    monkeypatch.setattr(pq, "read_metadata", replaced_after)
    assert read_file(path).to_pylist() == row("before").to_pylist()


def test_a_damaged_footer_is_a_history_error(tmp_path: Path):
    """Without its own check, pyarrow aborts the process for some of these flips."""
    path = create(tmp_path).generation(0) / "programs.parquet"
    data = path.read_bytes()
    flips = random.Random(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[flips.randrange(pages_end(path, data), len(data))] = flips.randrange(256)
        path.write_bytes(damaged)
        try:
            read_file(path)
        except HistoryError:
            refused += 1
    assert refused > 80


def test_a_file_that_was_read_leaves_nothing_in_memory(grown: RunFiles):
    path = grown.blocks()[-1].folder / "programs.parquet"
    read_file(path)

    def grown_by() -> int:
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(20):
            read_file(path)
        gc.collect()
        return len(gc.get_objects()) - before

    assert min(grown_by() for _ in range(3)) < 20, "what is left by reading is left each time, what others load is not"


def test_a_version_that_is_not_a_number_is_an_error(tmp_path: Path):
    path = files_of(LocalBackend(tmp_path), "r").run
    write_file(LocalBackend(tmp_path), path, row().replace_schema_metadata({"overnight.schema_version": "new"}))
    with pytest.raises(HistoryError, match="damaged"):
        read_file(path)


def test_every_file_has_its_table_name_and_format_number(tmp_path: Path):
    files = create(tmp_path)
    for name, path in {
        "runs": files.run,
        "programs": files.generation(0) / "programs.parquet",
        "population": files.generation(0) / "population.parquet",
        "generations": files.generation(0) / "generation.parquet",
    }.items():
        metadata = read_file(path).schema.metadata
        assert metadata[b"overnight.table"] == name.encode()
        assert metadata[b"overnight.schema_version"] == str(tables.FORMAT).encode()
