"""Our history backends pass the contract: a directory, and object storage with a copy on each machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.schemas.errors import UsageError
from overnight.tasks.history import record
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.files import files_of
from overnight.tasks.history.local_backend import MARKER, LocalBackend
from overnight.tasks.history.remote.backend import MirroredBackend
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.histories import HistoryBackendContract, Place, a_night, same_run
from overnight.testing.made import create, grow


class TestLocalBackend(HistoryBackendContract):
    """A history in a directory that both machines mount."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        folder = tmp_path / "history"
        return Place(LocalBackend(folder), LocalBackend(folder), {})

    def test_a_marked_copy_is_not_written_as_a_directory_of_its_own(self, place: Place):
        files = create(place.here)
        (place.here.root / MARKER).write_text("{}")
        writes = (
            place.here.refresh,
            place.here.probe,
            lambda: grow(files, 1),
            lambda: record.write_night(files, a_night(1)),
            lambda: run_lock(files).__enter__(),
        )
        for write in writes:
            with pytest.raises(UsageError, match="copy of a history"):
                write()
        assert files.committed() == [0]


class TestMirroredBackend(HistoryBackendContract):
    """A history on object storage, of which each machine has a copy."""

    @pytest.fixture
    def place(self, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        here = open_history(bucket)
        monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "other"))
        elsewhere = open_history(bucket)
        assert isinstance(here, MirroredBackend)
        assert here.root != elsewhere.root
        return Place(here, elsewhere, {"OVERNIGHT_CACHE": str(tmp_path / "cache")})

    def test_its_copy_is_recognised_by_its_path_within_this_machine_s_cache(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """Whoever names the directory of the copy means the history."""
        monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "cache"))
        again = open_history(str(place.here.root))
        assert again.location == place.here.location
        monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "other"))
        with pytest.raises(UsageError, match="keeps no copy there"):
            open_history(str(place.here.root))

    def test_a_deleted_copy_does_not_turn_a_night_into_a_local_one(self, place: Place):
        """What is written while the copy is deleted still goes to the store."""
        import shutil

        files = create(place.here, islands=2, prompts=3)
        with run_lock(files):
            shutil.rmtree(place.here.root)
            files.directory.mkdir(parents=True)
            record.write_night(files, a_night(1))
        assert same_run(place.elsewhere, files).nights() == [files_of(place.elsewhere, files.run_id).night(1)]
