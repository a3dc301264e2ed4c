"""Scheduled nights whose process died: told to their addresses, and in the history where nobody goes on with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from overnight.flows.schedules.night_worker import _note_death
from overnight.schemas.generation import NightRecord
from overnight.tasks.history import record
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.night_log import read_log
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import create, grow
from tests.notification_receiver import NotificationReceiver


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    """A run whose only night has no end: it runs, or was killed."""
    made = create(tmp_path)
    grow(made, 2)
    alive = datetime.now(UTC) + timedelta(minutes=10)
    record.write_night(made, NightRecord(1, datetime.now(UTC), -9.0, 1.0, "x", alive_until=alive))
    return files_of(open_history(str(tmp_path)), made.run_id)


def state(files: RunFiles) -> str:
    (row,) = Database(files.backend.root).rows("SELECT state FROM nights")
    return row["state"]


@pytest.mark.parametrize(("why_not", "becomes"), [("", "running"), ("it has died 4 times", "given up")])
def test_a_death_is_told_and_what_nobody_goes_on_with_is_given_up(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch, why_not: str, becomes: str
):
    parameters = {"run_id": files.run_id, "history": files.backend.location}
    with NotificationReceiver() as mailbox:
        monkeypatch.setenv("OVERNIGHT_NOTIFY", mailbox.address)
        _note_death(parameters, "the night has died", why_not, pytest.fail)
    (message,) = mailbox.messages
    assert (message["type"], f"overnight resume {files.run_id}" in message["message"]) == ("failure", True)
    assert state(files) == becomes
    assert any("given up: it has died 4 times" in text for _, text in read_log(files)) == bool(why_not)


def test_a_night_that_somebody_has_open_is_not_given_up(files: RunFiles):
    with run_lock(files):
        _note_death({"run_id": files.run_id, "history": files.backend.location}, "it has died", "it was", pytest.fail)
    assert state(files) == "running"
