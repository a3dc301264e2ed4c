"""A night and its own Prefect server: killed, it is started again; away or not, Ctrl-C ends the night in seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.prefect_server.embedded import EmbeddedServer
from tasks.history.database import Database
from tests.accidents import Night, wait_until
from tests.prefect_database import MigratedDatabase

pytestmark = [pytest.mark.docker, pytest.mark.prefect]

ENDS_WITHIN_S = 10.0
ENDLESS = ("--generations", "100000", "--seed", "1")


@pytest.fixture
def night(tmp_path: Path, migrated_database: MigratedDatabase) -> Iterator[Night]:
    """A night with a server of its own."""
    home = migrated_database.home(tmp_path / "prefect")
    spent = Night(tmp_path / "history", {"PREFECT_API_URL": "", "PREFECT_HOME": str(home)})
    yield spent
    spent.end_by_force()


@pytest.fixture
def standing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated_database: MigratedDatabase
) -> Iterator[EmbeddedServer]:
    """A server that nobody starts again."""
    monkeypatch.setenv("PREFECT_HOME", str(migrated_database.home(tmp_path / "prefect")))
    server = EmbeddedServer()
    server.wait()
    yield server
    server.stop()


@pytest.fixture
def night_elsewhere(standing: EmbeddedServer, tmp_path: Path) -> Iterator[Night]:
    """A night with that server."""
    spent = Night(tmp_path / "history", {"PREFECT_API_URL": standing.url, "PREFECT_HOME": str(tmp_path / "client")})
    yield spent
    spent.end_by_force()


def test_a_night_whose_server_is_killed_starts_it_again_and_goes_on(night: Night, toy: Path):
    night.begin(str(toy), *ENDLESS)
    night.goes_on()
    for _ in range(2):
        killed = server_of(night)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda killed=killed: server_of(night) not in (0, killed), lambda: night.said)
        night.goes_on(2)
    assert "Prefect's server has ended unexpectedly and is restarted" in night.said
    numbers = [row["generation"] for row in Database(night.files.directory.parents[1]).rows("FROM generations")]
    assert sorted(numbers) == list(range(len(numbers))), "none lost, none twice"


@pytest.mark.parametrize(
    ("how", "how_often"),
    [
        pytest.param(signal.SIGKILL, 1, id="dead"),
        pytest.param(signal.SIGKILL, 2, id="dead, twice", marks=pytest.mark.slow),
        pytest.param(signal.SIGSTOP, 1, id="hanging", marks=pytest.mark.slow),
        pytest.param(signal.SIGSTOP, 2, id="hanging, twice"),
    ],
)
def test_ctrl_c_ends_a_night_whose_server_does_not_answer(
    how: signal.Signals, how_often: int, night_elsewhere: Night, standing: EmbeddedServer, toy: Path
):
    night = night_elsewhere
    night.begin(str(toy), *ENDLESS)
    night.goes_on()
    os.kill(standing.pid, how)
    if how is signal.SIGKILL:
        standing.stop()  # and its port refuses connections
    committed = -1
    while committed != (committed := len(night.files.committed())):
        time.sleep(1.0)  # until it waits for the server
    try:
        ends_by_ctrl_c(night, how_often)
    finally:
        if how is signal.SIGSTOP:
            os.kill(standing.pid, signal.SIGCONT)
    assert stop_reason(night) == "interrupted"


@pytest.mark.parametrize("how_often", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_ends_a_night_whose_own_server_hangs(how_often: int, night: Night, toy: Path):
    night.begin(str(toy), *ENDLESS)
    night.goes_on()
    os.kill(server_of(night), signal.SIGSTOP)
    time.sleep(2.0)
    ends_by_ctrl_c(night, how_often)
    assert stop_reason(night) == "interrupted"


def test_ctrl_c_ends_a_night_that_is_paused(night_elsewhere: Night, standing: EmbeddedServer, toy: Path):
    night = night_elsewhere
    night.begin(str(toy), *ENDLESS)
    night.goes_on()
    standing.stop()
    wait_until(lambda: "paused: the Prefect server does not answer" in night.said, lambda: night.said)
    ends_by_ctrl_c(night, 1)
    assert stop_reason(night) == "interrupted"


@pytest.mark.parametrize(
    ("how_often", "after_s"),
    [(1, 0.0), (2, 1.0), pytest.param(1, 1.0, marks=pytest.mark.slow), pytest.param(2, 0.0, marks=pytest.mark.slow)],
)
def test_ctrl_c_ends_a_night_whose_server_is_starting(how_often: int, after_s: float, tmp_path: Path, toy: Path):
    night = Night(tmp_path / "history", {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path / "prefect")})
    night.begin(str(toy), *ENDLESS)
    time.sleep(after_s)  # a new database takes seconds
    assert not night.files.committed()[1:], "it has not begun"
    ends_by_ctrl_c(night, how_often)


def ends_by_ctrl_c(night: Night, how_often: int) -> None:
    """Ctrl-C, as often as that, ends it in seconds, in words, with all that it started."""
    begin = time.monotonic()
    for _ in range(how_often):
        os.kill(night.pid, signal.SIGINT)
        time.sleep(0.3)
    code = night.ends(60)
    took_s = time.monotonic() - begin
    assert code == 130, night.said
    assert took_s < ENDS_WITHIN_S, f"{took_s:.1f} s: {night.said}"
    assert "Traceback" not in night.said, night.said
    assert "overnight resume" in night.said, night.said
    wait_until(lambda: not night.left(), lambda: f"left: {night.left()}")


def stop_reason(night: Night) -> str:
    (row,) = Database(night.files.directory.parents[1]).rows("FROM nights")
    assert row["ended_at"] is not None
    return row["stop_reason"]


def server_of(night: Night) -> int:
    """The process of its server; 0 while there is none."""
    return next((pid for pid in children(night.pid) if b"flows.prefect_server.process" in command(pid)), 0)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
