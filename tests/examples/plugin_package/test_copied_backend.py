"""The history backend passes the contract."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from overnight.schemas.errors import UsageError
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.compact import compact
from overnight.tasks.history.files import runs_in
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.histories import HistoryBackendContract, Place, rows
from overnight.testing.made import create, grow


class TestCopiedBackend(HistoryBackendContract):
    """The copy is a history of its own."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        location = f"copied://{tmp_path}/history?copy={quote(f'{tmp_path}/copy', safe='')}"
        return Place(open_history(location), open_history(location), {})

    def test_the_copy_is_a_history_of_its_own(self, place: Place, tmp_path: Path):
        files = create(place.here, islands=2, prompts=3)
        with run_lock(files):
            grow(files, 4)
            compact(files, 1)
            grow(files, 1)
        before = rows(place.here)
        shutil.rmtree(place.here.root)
        copy = LocalBackend(tmp_path / "copy")
        assert rows(copy) == before
        (copied,) = runs_in(copy)
        with run_lock(copied):
            grow(copied, 1)
        assert copied.committed() == list(range(7))

    def test_a_location_without_two_absolute_directories_is_refused(self, place: Place):
        for location in ("copied:///here", "copied://here?copy=/there", "copied:///here?copy=there"):
            with pytest.raises(UsageError, match="does not name two directories"):
                open_history(location)
