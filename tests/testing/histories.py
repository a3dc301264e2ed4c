"""Contract of history backends: a generation is there or not there, on this machine and on every other one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.completion_source import PendingBatch
from overnight.schemas.errors import HistoryError, RunIsBusy, StoreUnavailable
from overnight.schemas.generation import NightRecord, StopReason
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.program import Completion
from overnight.tasks.history import archive, record, stored_run
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.compact import compact
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of, runs_in
from overnight.tasks.history.journal import Journal, PendingBatches
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import NOW, a_generation, create, grow, portrait, rebuilt

COMPLETION = Completion(0, 0, "hash", "return 1", "test/model", 10, 10, 0.5, 0.1, "stop", NOW)


@dataclass(frozen=True)
class Place:
    """The same history on two machines.

    Attributes:
        here: Its backend on this machine.
        elsewhere: Its backend on another machine, or in another process where there is no other machine.
        environment: Environment variables of processes on this machine.
    """

    here: HistoryBackend
    elsewhere: HistoryBackend
    environment: dict[str, str]

    def start(self, code: str) -> subprocess.Popen[str]:
        """Start a process on this machine that runs code with `history`, the backend, opened by its location."""
        lines = (
            "import os, signal, sys",
            "from overnight.tasks.history.backends import open_history",
            "from overnight.tasks.history.compact import compact",
            "from overnight.tasks.history.files import runs_in",
            "from overnight.tasks.history.run_lock import run_lock",
            "from overnight.testing.made import grow",
            "history = open_history(sys.argv[1])",
            code,
        )
        return subprocess.Popen(
            [sys.executable, "-c", "\n".join(lines), self.here.absolute_location],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            text=True,
        )


def rows(history: HistoryBackend) -> list[dict[str, Any]]:
    """Return all programs that a machine sees now."""
    history.refresh()
    return Database(history.root).rows("FROM programs ORDER BY run_id, generation, index")


def same_run(history: HistoryBackend, files: RunFiles) -> RunFiles:
    """Return the files of the same run on another machine, brought up to date."""
    history.refresh()
    return files_of(history, files.run_id)


KILLED_WHILE_WRITING = """
synced, sync = [], os.fsync
def sync_and_die(descriptor):
    sync(descriptor)
    synced.append(descriptor)
    if len(synced) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
(files,) = runs_in(history)
with run_lock(files):
    os.fsync = sync_and_die
    grow(files, 3)
"""
WRITING = """
(files,) = runs_in(history)
with run_lock(files):
    print("locked", flush=True)
    for _ in range(2):
        grow(files, 2)
        compact(files, 2)
"""


class HistoryBackendContract:
    """Tests of one backend; a subclass provides the fixture `place`."""

    def test_every_machine_sees_what_was_committed(self, place: Place):
        files = create(place.here, islands=2, prompts=3)
        with run_lock(files):
            grow(files, 3)
        other = same_run(place.elsewhere, files)
        assert rows(place.elsewhere) == rows(place.here)
        assert len(rows(place.here)) == 1 + 3 * 3
        assert stored_run.read_run(other) == stored_run.read_run(files)
        assert portrait(rebuilt(other)) == portrait(rebuilt(files))

    def test_its_location_names_it_in_any_working_directory(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        files = create(place.here)
        for name, value in place.environment.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "another directory").mkdir()
        monkeypatch.chdir(tmp_path / "another directory")
        again = open_history(place.here.absolute_location)
        again.refresh()
        assert [run.run_id for run in runs_in(again)] == [files.run_id]

    def test_a_probe_leaves_nothing(self, place: Place):
        place.here.probe()
        place.here.refresh()
        assert runs_in(place.here) == runs_in(place.elsewhere) == []

    def test_a_generation_is_committed_once(self, place: Place):
        files = create(place.here)
        start = stored_run.read_run_history(files).start
        with run_lock(files):
            record.commit(files, a_generation(1, [], start))
            with pytest.raises(HistoryError, match="committed already"):
                record.commit(files, a_generation(1, [], start))
        assert same_run(place.elsewhere, files).committed() == [0, 1]

    def test_a_write_that_fails_is_visible_nowhere_and_can_be_repeated(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ):
        files = create(place.here, islands=2, prompts=3)

        def fail(*_: object) -> None:
            raise StoreUnavailable("it does not answer")

        with run_lock(files):
            grow(files, 1)
            for method in ("put_folder", "put_file"):
                with monkeypatch.context() as broken:
                    broken.setattr(type(place.here), method, fail)
                    with pytest.raises(StoreUnavailable):
                        grow(files, 1) if method == "put_folder" else record.write_night(files, a_night(1))
                files.catch_up()
                assert not files.is_unsure()
                assert files.committed() == same_run(place.elsewhere, files).committed() == [0, 1]
                assert files.nights() == same_run(place.elsewhere, files).nights() == []
            grow(files, 1)
        assert same_run(place.elsewhere, files).committed() == [0, 1, 2]
        assert rows(place.elsewhere) == rows(place.here)

    def test_a_kill_leaves_a_whole_generation_or_none_and_the_run_continues(self, place: Place):
        files = create(place.here, islands=2, prompts=3)
        killed = place.start(KILLED_WHILE_WRITING)
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        committed = same_run(place.elsewhere, files).committed()
        assert committed == list(range(len(committed)))
        with run_lock(files):
            assert files.committed() == committed
            grow(files, 2)
        assert len(rows(place.here)) == 1 + 3 * (len(committed) + 1)
        assert rows(place.elsewhere) == rows(place.here)

    def test_completions_are_kept_until_their_generation_is_committed(self, place: Place):
        files = create(place.here)
        with run_lock(files):
            Journal(files.journal(1), place.here).record([COMPLETION, replace(COMPLETION, sample=1)])
        other = same_run(place.elsewhere, files)
        with run_lock(other):
            assert len(Journal(other.journal(1), place.elsewhere).known()) == 2
            assert stored_run.read_spent_usd(other) == 1.0
            grow(other, 1)
        with run_lock(same_run(place.here, files)):
            assert files.journalled_generations() == []

    def test_a_batch_job_is_pending_until_its_results_are_recorded(self, place: Place):
        files = create(place.here)
        submitted = PendingBatch("20260101-a", "openai/x", NOW, usd=0.5, tokens=100, batch_id="batch_1")
        with run_lock(files):
            PendingBatches(files.directory / "paid", place.here).keep(replace(submitted, batch_id=""))
            PendingBatches(files.directory / "paid", place.here).keep(submitted)
        other = same_run(place.elsewhere, files)
        with run_lock(other):
            pending = PendingBatches(other.directory / "paid", place.elsewhere)
            assert pending.all() == [submitted]
            pending.drop(submitted)
        with run_lock(files):
            assert PendingBatches(files.directory / "paid", place.here).all() == []

    def test_failures_and_generations_given_up_are_read_back(self, place: Place):
        files = create(place.here)
        start = stored_run.read_run_history(files).start
        with run_lock(files):
            for attempt in (1, 2):
                record.record_failure(files, a_generation(1, [], start, attempt=attempt, error="no model"))
            record.give_up(files, 1, place=1)
            record.commit(files, a_generation(2, [], start, place=2))
        other = same_run(place.elsewhere, files)
        past = stored_run.read_run_history(other)
        assert past == stored_run.read_run_history(files)
        assert [(step.generation, step.is_committed) for step in past.steps] == [(1, False), (2, True)]
        assert other.failed_attempts(1) == 2

    def test_a_night_s_row_is_replaced_by_its_end(self, place: Place):
        files = create(place.here)
        with run_lock(files):
            record.write_night(files, a_night(1))
            record.write_night(files, replace(a_night(1), ended_at=NOW, stop_reason=StopReason.TARGET))
        place.elsewhere.refresh()
        (row,) = Database(place.elsewhere.root).rows("SELECT night, stop_reason FROM nights")
        assert row == {"night": 1, "stop_reason": "target"}

    def test_a_second_writer_is_refused(self, place: Place):
        files = create(place.here)
        other = same_run(place.elsewhere, files)
        with run_lock(files), pytest.raises(RunIsBusy, match="under way"), run_lock(other):
            pass
        with run_lock(other):
            grow(other, 1)
        with run_lock(files):
            assert files.committed() == [0, 1], "a new holder of the lock sees what others committed"

    def test_each_row_is_read_once_while_another_process_writes_and_compacts(self, place: Place):
        files = create(place.here, islands=2, prompts=6)
        process = place.start(WRITING)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            seen = 0
            while process.poll() is None:
                found = rows(place.elsewhere)
                numbers = {row["generation"] for row in found}
                assert numbers == set(range(len(numbers)))
                assert len(found) == 1 + 6 * (len(numbers) - 1)
                assert len(numbers) >= seen
                seen = len(numbers)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 0
        assert same_run(place.here, files).committed() == list(range(5))
        assert rows(place.elsewhere) == rows(place.here)

    def test_a_compacted_run_has_the_same_rows(self, place: Place):
        files = create(place.here, islands=2, prompts=3)
        with run_lock(files):
            grow(files, 5)
            before = rows(place.here)
            compact(files, 1)
        other = same_run(place.elsewhere, files)
        assert [block.folder.name for block in other.blocks()] == ["000000-000005"]
        assert rows(place.elsewhere) == rows(place.here) == before

    def test_an_imported_run_is_there_on_every_machine(self, place: Place, tmp_path: Path):
        given = create(tmp_path / "given", islands=2, prompts=3)
        grow(given, 2)
        Journal(given.journal(3), given.backend).record([COMPLETION])
        archive.pack(given, tmp_path / "run.tar.zst")
        _, is_new = archive.unpack(tmp_path / "run.tar.zst", place.here)
        assert is_new
        assert rows(place.elsewhere) == rows(LocalBackend(tmp_path / "given"))
        other = files_of(place.elsewhere, given.run_id)
        with run_lock(other):
            assert len(Journal(other.journal(3), place.elsewhere).known()) == 1


def a_night(number: int) -> NightRecord:
    return NightRecord(number=number, started_at=NOW, best_before=-9.0, best_after=-9.0, best_program_id="start")
