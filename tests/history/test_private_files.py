"""Files of a history are private whatever the umask is, and a shared history stays shared."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.flows.cli.report import write_page
from overnight.flows.cli.sql import _line_editing
from overnight.schemas.history_backend import HistoryBackend
from overnight.tasks.history.archive import pack, unpack
from overnight.tasks.history.atomic_files import append_lines
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.compact import compact
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import create, grow


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(root: Path) -> set[tuple[bool, str]]:
    """Return, for a folder and everything in it, whether it is a folder, and its permissions."""
    found = (root, *root.rglob("*"))
    return {(path.is_dir(), oct(stat.S_IMODE(path.stat().st_mode))) for path in found}


PRIVATE = {(True, "0o700"), (False, "0o600")}


def fill(history: Path | HistoryBackend) -> None:
    files = create(history, islands=3, prompts=4)
    with run_lock(files):
        grow(files, 6)
        compact(files, 1)
        grow(files, 1)
        append_lines(files.journal(8), [b"{}"])
        files.probe()


@pytest.mark.parametrize("place", ["new/history", "runs/history"])
def test_a_new_history_is_private(place: str, tmp_path: Path):
    tmp_path.chmod(0o755)
    history = tmp_path / place
    fill(history)
    assert modes(history) == PRIVATE


def test_an_imported_run_and_its_archive_are_private(tmp_path: Path):
    pack(create(tmp_path / "here", islands=3, prompts=4), tmp_path / "run.tar.zst")
    unpack(tmp_path / "run.tar.zst", LocalBackend(tmp_path / "there"))
    assert modes(tmp_path / "there") == PRIVATE
    assert modes(tmp_path / "run.tar.zst") == {(False, "0o600")}


def test_a_history_shared_with_a_group_stays_shared(tmp_path: Path):
    history = tmp_path / "history"
    history.mkdir()
    history.chmod(0o750)
    fill(history)
    pack(create(tmp_path / "here", "20260102-2200-toy-bbbb", islands=3, prompts=4), tmp_path / "run.tar.zst")
    unpack(tmp_path / "run.tar.zst", LocalBackend(history))
    assert modes(history) == {(True, "0o750"), (False, "0o640")}


def test_the_copy_of_a_history_on_object_storage_is_private(bucket: str, tmp_path: Path):
    history = open_history(bucket)
    assert modes(history.root) == PRIVATE
    fill(history)
    assert modes(history.root) == PRIVATE


def test_reports_and_the_shell_history_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_page(tmp_path / "report.html", "<p>it</p>")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "state").mkdir(mode=0o700)
    with _line_editing():
        pass
    assert (tmp_path / "state" / "overnight" / "sql_history").is_file()
    assert modes(tmp_path / "report.html") == {(False, "0o600")}
    assert modes(tmp_path / "state") == PRIVATE
    (tmp_path / "open.html").touch()
    (tmp_path / "open.html").chmod(0o644)
    write_page(tmp_path / "open.html", "<p>it</p>")
    assert modes(tmp_path / "open.html") == {(False, "0o644")}
