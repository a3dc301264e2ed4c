"""Outages of a night's Prefect server: a killed server is restarted, and Ctrl-C ends the night within seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.flows.prefect_server.embedded import EmbeddedServer
from overnight.tasks.history.database import Database
from tests.accidents import NightProcess, wait_until
from tests.prefect_database import MigratedDatabase

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("processes")]

ENDS_WITHIN_S = 10.0
ENDLESS = ("--generations", "100000", "--seed", "1")


@pytest.fixture
def night(tmp_path: Path, migrated_database: MigratedDatabase) -> Iterator[NightProcess]:
    """A night with a server of its own."""
    home = migrated_database.home(tmp_path / "prefect")
    process = NightProcess(tmp_path / "history", {"PREFECT_API_URL": "", "PREFECT_HOME": str(home)})
    yield process
    process.kill_if_running()


@pytest.fixture
def standing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated_database: MigratedDatabase
) -> Iterator[EmbeddedServer]:
    """A server that is not restarted."""
    monkeypatch.setenv("PREFECT_HOME", str(migrated_database.home(tmp_path / "prefect")))
    server = EmbeddedServer()
    server.wait()
    yield server
    server.stop()


@pytest.fixture
def night_elsewhere(standing: EmbeddedServer, tmp_path: Path) -> Iterator[NightProcess]:
    """A night that uses the standing server."""
    environment = {"PREFECT_API_URL": standing.url, "PREFECT_HOME": str(tmp_path / "client")}
    process = NightProcess(tmp_path / "history", environment)
    yield process
    process.kill_if_running()


def test_a_night_restarts_its_killed_server_continues_and_ends_by_ctrl_c_though_the_next_one_hangs(
    night: NightProcess, slow_toy: Path
):
    night.start(str(slow_toy), *ENDLESS)
    night.wait_for_generations()
    killed = server_of(night)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: server_of(night) not in (0, killed), lambda: night.output)
    night.wait_for_generations(2)
    assert "Prefect's server has ended unexpectedly and is restarted" in night.output
    numbers = [row["generation"] for row in Database(night.files.directory.parents[1]).rows("FROM generations")]
    assert sorted(numbers) == list(range(len(numbers))), "no generation is lost or repeated"
    os.kill(server_of(night), signal.SIGSTOP)
    time.sleep(2.0)
    ends_by_ctrl_c(night, 1)
    assert stop_reason(night) == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("how_often", [1, 2])
def test_ctrl_c_ends_a_night_whose_server_hangs(
    how_often: int, night_elsewhere: NightProcess, standing: EmbeddedServer, slow_toy: Path
):
    night = night_elsewhere
    night.start(str(slow_toy), *ENDLESS)
    night.wait_for_generations()
    os.kill(standing.pid, signal.SIGSTOP)
    committed = -1
    while committed != (committed := len(night.files.committed())):
        time.sleep(1.0)  # until the night waits for the server
    try:
        ends_by_ctrl_c(night, how_often)
    finally:
        os.kill(standing.pid, signal.SIGCONT)
    assert stop_reason(night) == "interrupted"


@pytest.mark.slow
def test_ctrl_c_ends_a_night_that_is_paused(night_elsewhere: NightProcess, standing: EmbeddedServer, slow_toy: Path):
    night = night_elsewhere
    night.start(str(slow_toy), *ENDLESS)
    night.wait_for_generations()
    standing.stop()
    wait_until(lambda: "paused: the Prefect server does not answer" in night.output, lambda: night.output)
    ends_by_ctrl_c(night, 1)
    assert stop_reason(night) == "interrupted"


def test_ctrl_c_ends_a_night_whose_server_is_starting(tmp_path: Path, slow_toy: Path):
    night = NightProcess(tmp_path / "history", {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path / "prefect")})
    night.start(str(slow_toy), *ENDLESS)
    time.sleep(1.0)  # creating a database takes seconds
    assert not night.files.committed()[1:], "the night has not begun"
    ends_by_ctrl_c(night, 2)


def ends_by_ctrl_c(night: NightProcess, how_often: int) -> None:
    """Interrupt the night; require that it ends within seconds, with a message and without leftovers."""
    begin = time.monotonic()
    for _ in range(how_often):
        os.kill(night.pid, signal.SIGINT)
        time.sleep(0.3)
    code = night.wait_for_exit(60)
    took_s = time.monotonic() - begin
    assert code == 130, night.output
    assert took_s < ENDS_WITHIN_S, f"{took_s:.1f} s: {night.output}"
    assert "Traceback" not in night.output, night.output
    assert "overnight resume" in night.output, night.output
    wait_until(lambda: not night.leftovers(), lambda: f"left: {night.leftovers()}")


def stop_reason(night: NightProcess) -> str:
    (row,) = Database(night.files.directory.parents[1]).rows("FROM nights")
    assert row["ended_at"] is not None
    return row["stop_reason"]


def server_of(night: NightProcess) -> int:
    """Return the process id of the night's server; 0 while there is none."""
    return next((pid for pid in children(night.pid) if b"overnight.flows.prefect_server.process" in command(pid)), 0)


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


def test_servers_that_start_at_once_on_a_new_home_all_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    with contextlib.ExitStack() as stack:
        servers = [EmbeddedServer() for _ in range(3)]
        for server in servers:
            stack.callback(server.stop)
        for server in servers:
            server.wait()
