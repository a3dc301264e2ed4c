"""Kills at any moment: no committed generation is lost, each candidate has one verdict, and nothing is left running."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from overnight.tasks.evaluate.pool import open_pool
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from tests.accidents import Accidents, NightProcess, wait_until
from tests.command_server import RunningCommand, start_command
from tests.conftest import SPECIFICATIONS
from tests.engine import PrivateEngine
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


# Random kills of containers, engine and night


FIFTY = SPECIFICATIONS / "fifty.py"


@pytest.fixture
def night(engine: PrivateEngine, prefect_api: str, tmp_path: Path) -> Iterator[NightProcess]:
    process = NightProcess(tmp_path / "history", {"PREFECT_API_URL": prefect_api})
    yield process
    process.kill_if_running()


def start(night: NightProcess, prompts: int, *more: str) -> None:
    settings = {"search.prompts": prompts, "search.samples": 4, "search.algorithm.islands": 3, "sandbox.slots": 2}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    night.start(str(FIFTY), "--seed", "1", *sets, *more)
    # A night that is killed before its first generation leaves no row.
    night.wait_for_generations()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_candidates(night: NightProcess, engine: PrivateEngine):
    start(night, 5)
    accidents = Accidents(night, engine, seed=1)
    for which in accidents.shuffled(container=16, engine_killed=2, engine_ended=2, night=5, all_at_once=1):
        accidents.cause(which)
    finish(night, generations=50)
    assert_history_is_consistent(night, engine, size=20, generations=50)


def finish(night: NightProcess, generations: int) -> None:
    """Kill the night; resume the run without further accidents up to a number of generations."""
    night.kill()
    committed = len(night.files.committed()) - 1
    night.resume("--generations", str(max(1, generations - committed)))
    night.wait_for_success()


def assert_history_is_consistent(night: NightProcess, engine: PrivateEngine, *, size: int, generations: int) -> None:
    database = Database(night.files.directory.parents[1])
    numbers = night.files.committed()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) - 1 >= generations
    assert_one_verdict_each(database, size)
    assert_best_never_falls(database)
    assert_verdicts_are_reproducible(database, night)
    assert database.rows("SELECT count(*) AS n FROM nights") == [{"n": night.kills + 1}]
    assert engine.containers() == []
    assert engine.processes() == []
    assert night.leftovers() == []


def assert_one_verdict_each(database: Database, size: int) -> None:
    wrong = database.rows(
        f"SELECT generation FROM programs WHERE generation > 0 GROUP BY generation HAVING count(*) != {size} "
        f"""OR list_sort(list("index")) != range({size})"""
    )
    assert wrong == []
    counted = database.rows("SELECT count(*) AS rows, count(DISTINCT program_id) AS ids FROM programs")[0]
    assert counted["rows"] == counted["ids"]
    assert database.rows("SELECT program_id, error FROM programs WHERE outcome = 'sandbox_error'") == []


def assert_best_never_falls(database: Database) -> None:
    best = [row["best_score"] for row in database.rows("FROM generations WHERE state = 'committed' ORDER BY place")]
    assert best == sorted(best)
    assert database.rows("SELECT max(score) AS best FROM programs") == [{"best": best[-1]}]


def assert_verdicts_are_reproducible(database: Database, night: NightProcess, limit: int = 200) -> None:
    """Require that evaluating some of the programs again gives the same outcomes and scores."""
    problem = stored_run.read_run(night.files).problem
    rows = database.rows(
        "SELECT DISTINCT ON (code_hash) body, outcome, scores FROM programs "
        f"WHERE generation > 0 AND outcome IN ('scored', 'crashed', 'bad_score') ORDER BY code_hash LIMIT {limit}"
    )
    assert len(rows) > 10
    with closing(open_pool(problem.job("train", 1), image=problem.settings.sandbox.image, slots=2)) as pool:
        for row in rows:
            verdict = pool.evaluate(problem.specification.program(row["body"]))
            assert (verdict.outcome.value, list(verdict.scores)) == (row["outcome"], row["scores"] or []), row
