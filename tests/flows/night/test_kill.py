"""`kill -9` at any moment: no committed generation is lost, none is there twice, nothing is left running."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from overnight.tasks.history.database import Database
from tests.accidents import wait_until
from tests.command_server import RunningCommand, start_command
from tests.flows.nights import containers
from tests.prefect_database import MigratedDatabase

pytestmark = [pytest.mark.docker, pytest.mark.prefect]

Overnight = Callable[..., RunningCommand]


@pytest.fixture
def overnight(prefect_api: str, tmp_path: Path) -> Overnight:
    def start(*arguments: str) -> RunningCommand:
        environment = {**os.environ, "PREFECT_API_URL": prefect_api, "OVERNIGHT_HISTORY": str(tmp_path)}
        return start_command(arguments, environment)

    return start


def wait_for_run(process: RunningCommand) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.match(r"run (\S+), seed", line):
            return match[1]
    raise AssertionError("it ended without a run")


def committed(history: Path) -> list[int]:
    rows = Database(history).rows("SELECT generation FROM generations WHERE state = 'committed' ORDER BY generation")
    return [row["generation"] for row in rows]


def test_a_killed_night_loses_at_most_the_generation_under_way(overnight: Overnight, slow_toy: Path, tmp_path: Path):
    process = overnight("run", str(slow_toy), "--generations", "100000", "--seed", "1")
    run_id = wait_for_run(process)
    time.sleep(random.Random(7).uniform(1.0, 4.0))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not containers(run_id), lambda: "its containers do not vanish by themselves", timeout_s=20)
    before = committed(tmp_path)
    assert before == list(range(len(before))), "none lost, none twice"
    final = overnight("resume", run_id, "--generations", "2")
    assert wait_for_run(final) == run_id
    _, said = final.communicate(timeout=120)
    assert final.returncode == 0, said
    there = committed(tmp_path)
    assert there == list(range(len(before) + 2))
    sizes = Database(tmp_path).rows(
        "SELECT DISTINCT count(*) AS n FROM programs WHERE generation > 0 GROUP BY generation"
    )
    assert [row["n"] for row in sizes] == [6], "a generation is there whole"
    ids = Database(tmp_path).rows("SELECT count(*) AS rows, count(DISTINCT program_id) AS ids FROM programs")[0]
    assert ids["rows"] == ids["ids"]
    assert containers(run_id) == []


@pytest.mark.slow
def test_the_embedded_server_ends_with_a_killed_night(tmp_path: Path, migrated_database: MigratedDatabase):
    migrated_database.home(tmp_path)
    script = (
        "import sys, time\nfrom overnight.flows.environment import prepare\nprepare()\n"
        "from overnight.flows.prefect_server.embedded import EmbeddedServer\n"
        "server = EmbeddedServer()\nserver.wait()\nprint(server.pid, flush=True)\ntime.sleep(100)\n"
    )
    night = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert night.stdout is not None
    server = int(night.stdout.readline())
    night.kill()
    night.communicate()
    wait_until(lambda: not os.path.exists(f"/proc/{server}"), timeout_s=20)
